"""What is wrong with processes of the fleet whatever the target, told once: pure, from what they report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from poolmgr.conf import Conf, conf
from poolmgr.control.reporting.beats import Beats
from poolmgr.exceptions import ConfigurationError
from poolmgr.metrics.health import STATES
from poolmgr.metrics.phrases import as_phrase, bare, counted, joined, phrase
from poolmgr.metrics.serving import Serving
from poolmgr.metrics.snapshot import ProcessBeat
from poolmgr.metrics.words import span

#: Processes and views that a sentence names.
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Trouble:
    """A sentence, and the processes, as host:pid, of which it is true.

    ``code`` names what to do about it; ``since`` is in seconds since the epoch, 0 where nobody knows; ``uids`` are the
    processes' own; ``waiting`` requests have no thread.
    """

    sentence: str
    processes: tuple[str, ...]
    code: str = "trouble"
    state: str = "warning"
    since: float = 0.0
    uids: tuple[str, ...] = ()
    waiting: int = 0

    @property
    def said(self) -> str:
        """Of whom, and what."""
        named = ", ".join(self.processes[:_NAMED])
        if (more := len(self.processes) - _NAMED) > 0:
            named = phrase("%(names)s and %(n)s more", names=named, n=more)
        return phrase("%(who)s: %(said)s", who=named, said=self.sentence)


def silent_after(store: str) -> float:
    """Seconds without a heartbeat in ``store`` after which something is wrong: two may be on their way, three are a sign."""
    try:
        told = conf()
    except ConfigurationError:  # which others tell
        told = Conf()
    rows = store == "database"
    return 3 * (min(told.POLL_INTERVAL, told.PROCESS_TTL / 3) if rows else told.HEARTBEAT_INTERVAL) + 1


def troubles(beats: Beats, errors: str, now: float) -> tuple[Trouble, ...]:
    """The worst first, each once, however many processes have it, and none that is in ``errors`` already."""
    found = [*_used_up(beats.processes, now), *_silent(beats, now), *_own(beats, errors)]
    return tuple(sorted(found, key=lambda each: -STATES.index(each.state)))


def _own(beats: Beats, errors: str) -> Iterator[Trouble]:
    """What they say of themselves."""
    found: dict[str, list[ProcessBeat]] = {}
    for beat in beats.processes:
        for each in map(as_phrase, beat.problems):
            if bare(each) not in errors:
                found.setdefault(each, []).append(beat)
    for sentence, those in found.items():
        yield Trouble(sentence, _places(those), uids=_uids(those))


def _silent(beats: Beats, now: float) -> Iterator[Trouble]:
    latest = silent_after(beats.store)
    those = sorted((beat for beat in beats.processes if now - beat.at > latest), key=lambda beat: beat.at)
    if not those:
        return
    said = counted(
        len(those),
        "No heartbeat of this %(role)s process for %(time)s: it was killed, stands still, or is cut off.",
        "No heartbeat of these %(n)s processes for %(time)s: they were killed, stand still, or are cut off.",
        role=those[0].role,
        time=span(now - those[-1].at),
    )
    yield Trouble(said, _places(those), "silent", "unknown", those[0].at, _uids(those))


def _used_up(processes: Sequence[ProcessBeat], now: float) -> Iterator[Trouble]:
    """Where no process has a thread left, or requests are known to wait for one.

    That one of several is busy is how workers of one thread look, and the others serve meanwhile. Where somebody waits for a
    connection, that is what the threads wait for too, and the pool's verdict tells it.
    """
    serve = [(beat, beat.serving) for beat in processes if beat.serving is not None]
    those = [
        (beat, serving)
        for beat, serving in serve
        if serving.is_used_up and not any(pool.pending for pool in beat.pools)
    ]
    if len(those) < len(serve):
        those = [(beat, serving) for beat, serving in those if serving.waiting]
    if not those:
        return
    beats, told = [beat for beat, _ in those], [serving for _, serving in those]
    stuck = min(each.stuck for each in told)
    yield Trouble(
        _no_thread(beats, told, len(serve), stuck),
        _places(beats),
        "threads",
        "critical",
        now - max(each.stuck for each in told),
        _uids(beats),
        sum(each.waiting for each in told),
    )


def _no_thread(beats: Sequence[ProcessBeat], told: Sequence[Serving], serve: int, stuck: float) -> str:
    threads, waiting = sum(each.threads for each in told), sum(each.waiting for each in told)
    busy: str = counted(threads, "The only request thread is busy", "All %(n)s request threads are busy")
    if len(told) < serve:
        busy = phrase("%(busy)s in %(n)s of %(all)s processes", busy=busy, n=len(told), all=serve)
    busy = phrase("%(busy)s, and none has come free for %(time)s", busy=busy, time=span(stuck))
    if views := [*_busy_with(told)]:
        busy = phrase("%(busy)s (%(views)s)", busy=busy, views=joined("; ", views))
    if waiting:
        queue = counted(waiting, "%(n)s request waits for a thread", "%(n)s requests wait for a thread")
        busy = joined("; ", [busy, queue])
    pools = [pool for beat in beats for pool in beat.pools]
    return phrase(
        "%(busy)s. The pools are not what is short: %(used)s of %(most)s connections are in use, and nobody waits for one.",
        busy=busy,
        used=sum(pool.used for pool in pools),
        most=sum(pool.limit or pool.max_size for pool in pools),
    )


def _busy_with(told: Sequence[Serving]) -> Iterator[str]:
    number: dict[str, int] = {}
    longest: dict[str, float] = {}
    for view in (view for each in told for view in each.views):
        number[view.name] = number.get(view.name, 0) + view.number
        longest[view.name] = max(longest.get(view.name, 0.0), view.seconds)
    for name in sorted(number, key=lambda name: -number[name])[:_NAMED]:
        yield phrase("%(n)s in %(view)s, the longest for %(time)s", n=number[name], view=name, time=span(longest[name]))


def _places(beats: Sequence[ProcessBeat]) -> tuple[str, ...]:
    return tuple(f"{beat.host}:{beat.pid}" for beat in beats)


def _uids(beats: Sequence[ProcessBeat]) -> tuple[str, ...]:
    return tuple(beat.uid for beat in beats)
