"""A target as the dashboard shows it: figures put into words, so that the templates only print."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from poolmgr.control.reporting.advice import ADVICE
from poolmgr.control.reporting.fleet import Fleet
from poolmgr.control.reporting.views import TargetView
from poolmgr.dashboard.addresses import holder_address
from poolmgr.dashboard.bars import Bar, Segment, bars, legend
from poolmgr.dashboard.blocking import Blocking, blockers, blocking
from poolmgr.dashboard.present import DASH, HOLDER_STATES, Figure, ago, duration, number, timed
from poolmgr.dashboard.rows import ProcessRow, process_rows
from poolmgr.dashboard.server import ServerLine, server_line
from poolmgr.dashboard.wanted import Source, Wanted
from poolmgr.metrics.health import STATES
from poolmgr.metrics.histogram import Distribution
from poolmgr.metrics.snapshot import Holder, Part, PoolSnapshot, ProcessBeat
from poolmgr.models import Command
from poolmgr.pools.kinds import Kind
from poolmgr.targets.known import kind_named, known_targets


@dataclass(frozen=True, slots=True)
class Tile:
    """One big number. ``state`` colours it when it asks for attention."""

    label: str
    value: str
    of: str = ""
    title: str = ""
    state: str = ""


@dataclass(frozen=True, slots=True)
class Times:
    """The quantiles of one kind of time."""

    label: str
    p50: Figure
    p95: Figure
    p99: Figure
    count: str


@dataclass(frozen=True, slots=True)
class HolderLine:
    """Who holds a connection, and for which view, task or command.

    ``end`` is what the server calls its end of it, such as “server process 4711”.
    """

    process: str
    label: str
    request: str
    thread: str
    state: str
    loiters: bool  # in a transaction, and asks nothing: others may wait for its locks
    statement: str
    seconds: Figure
    end: str
    pinned: str
    address: str  # of its page, "" where it has none
    blocked_by: str


@dataclass(frozen=True, slots=True)
class Card:
    """One target with everything the page says of it.

    ``gone`` is one that only a profile names: nobody can act on it. Without ``known`` nobody can tell which settings
    it should have, and what the last check of its server found. ``silent``
    says that its sums hold what a silent process reported last. ``denied`` are the commands that its kind makes no sense of,
    each with the sentence that says why; ``cuts`` are those that cut clients off, with their labels. ``parts`` are chips on
    databases of it that are not as the whole is, and ``resumable`` says that any of it is paused.
    """

    target: str
    gone: bool
    kind: str
    unit: str
    address: str
    state: str
    sentence: str
    advice: str  # the page that says what to do about it, "" where there is none
    paused: str
    all_paused: bool
    resumable: bool
    parts: tuple[str, ...]
    tiles: tuple[Tile, ...]
    bars: tuple[Bar, ...]
    legend: tuple[Segment, ...]
    times: tuple[Times, ...]
    means: tuple[tuple[str, Figure], ...]
    oldest: Figure
    holders: tuple[HolderLine, ...]
    blocking: Blocking | None
    pins: tuple[tuple[str, str], ...]
    server: ServerLine
    modes: str
    denied: dict[str, str]
    cuts: tuple[tuple[str, str], ...]
    killed: str
    sources: tuple[Source, ...]
    known: bool
    silent: bool
    applied: str
    drift: bool
    errors: tuple[str, ...]
    rows: tuple[ProcessRow, ...]


#: More holders than anybody reads; the oldest come first.
_HOLDERS = 10


def cards(fleet: Fleet, wanted: Wanted, statements: bool) -> tuple[Card, ...]:
    """The worst first; of equals those that somebody uses, by name. Without ``statements`` those are left out."""
    found = [_card(view, fleet, wanted, statements) for view in fleet.targets]
    return tuple(sorted(found, key=lambda card: (not card.rows, -STATES.index(card.state), card.target)))


def _card(view: TargetView, fleet: Fleet, wanted: Wanted, statements: bool) -> Card:
    in_the_way = blockers(view, fleet)
    rows = process_rows(view.target, fleet, wanted, in_the_way.keys())
    on_current, applied_of = view.applied
    pools = [pool for beat in fleet.processes for pool in beat.pools if pool.target == view.target]
    stopped = sum(pool.status == "paused" for pool in pools)
    parts = [part for pool in pools for part in pool.parts]
    gone = not pools and view.target not in known_targets()
    state, sentence = _verdict(view, gone, rows)
    kind = kind_named(view.kind)
    return Card(
        target=view.target,
        gone=gone,
        kind=kind.label if kind.name == view.kind else view.kind,  # of another version
        unit=kind.unit,
        address=view.address,
        state=state,
        sentence=sentence,
        advice=view.verdict.code if sentence == view.verdict.sentence and view.verdict.code in ADVICE else "",
        paused=_paused(stopped, len(pools)),
        all_paused=0 < len(pools) == stopped,
        resumable=stopped > 0 or any(part.paused for part in parts),
        parts=_parts(parts, stopped > 0),
        tiles=_tiles(view, kind, fleet.at),
        bars=(shown := bars(view.roles)),
        legend=legend(shown),
        times=() if kind.elsewhere else (_times(_("Wait time"), view.wait), _times(_("Use time"), view.use)),
        means=_means(view) if kind.elsewhere else (),
        oldest=timed(view.oldest_checkout) if view.used else Figure(DASH, _("nothing is checked out")),
        holders=_holders(view, fleet, kind, statements, in_the_way),
        blocking=blocking(view, fleet, kind.end, statements),
        pins=tuple((reason, number(count)) for reason, count in sorted(view.pins.items(), key=lambda pin: -pin[1])),
        server=server_line(view, wanted.known),
        modes=", ".join(sorted({pool.pool_mode for pool in pools})) if "pool_mode" in kind.honours else "",
        denied=dict(kind.denies),
        cuts=tuple(
            (each.value, str(capfirst(each.label)))
            for each in Command.Kind
            if each in Command.CUTS and each in kind.commands
        ),
        killed=_killed(view.target, parts, wanted),
        sources=wanted.profiles(view.target) if gone else wanted.sources(view.target),
        known=wanted.known,
        silent=any(row.late for row in rows),
        applied=_("%(n)s of %(all)s") % {"n": number(on_current), "all": number(applied_of)},
        drift=on_current < applied_of,
        errors=_errors(pools, view.verdict.sentence),
        rows=rows,
    )


def _verdict(view: TargetView, gone: bool, rows: tuple[ProcessRow, ...]) -> tuple[str, str]:
    """State and sentence. What a silent process reported last may not be so any more, and makes nothing well."""
    if gone:
        return view.verdict.state, _("The settings of this site name no such target any more.")
    silent = sum(row.late for row in rows)
    if not silent or view.verdict.state != "ok":
        return view.verdict.state, view.verdict.sentence
    said = ngettext(
        "%(n)s of %(all)s processes is silent, and what it does is unknown. Last known of all: %(said)s",
        "%(n)s of %(all)s processes are silent, and what they do is unknown. Last known of all: %(said)s",
        silent,
    )
    return "unknown", said % {"n": number(silent), "all": number(len(rows)), "said": view.verdict.sentence}


def _errors(pools: list[PoolSnapshot], said: str) -> tuple[str, ...]:
    """The last connect errors, but for what the sentence above them says already."""
    found = {pool.last_error for pool in pools if pool.last_error}
    return tuple(sorted(error for error in found if error.strip().rstrip(".") not in said))


def _parts(parts: list[Part], paused: bool) -> tuple[str, ...]:
    """What a chip of its own says of a database; that all are paused another one says."""
    found = [_("%(database)s disabled") % {"database": part.name} for part in parts if part.disabled]
    if not paused:
        found += [_("%(database)s paused") % {"database": part.name} for part in parts if part.paused]
    return tuple(found)


def _killed(target: str, parts: list[Part], wanted: Wanted) -> str:
    killed = {part.name for part in parts if part.paused and {(target, ""), (target, part.name)} & wanted.killed}
    if not killed:
        return ""
    if len(killed) == len(parts):
        return _("It was killed: its clients were cut off, and it stays paused until somebody resumes.")
    said = _("Killed: %(databases)s. Its clients were cut off, and it stays paused until somebody resumes.")
    return said % {"databases": ", ".join(sorted(killed))}


def _paused(stopped: int, pools: int) -> str:
    if not stopped:
        return ""
    return _("paused") if stopped == pools else _("%(n)s of %(all)s paused") % {"n": stopped, "all": pools}


def _tiles(view: TargetView, kind: Kind, now: float) -> tuple[Tile, ...]:
    if kind.elsewhere:
        mean = duration(view.means.get("wait"))
        told = [
            Tile(_("Mean wait"), mean, "", _("of the last minute; %(kind)s tells no more") % {"kind": kind.label}),
            Tile(_("Transactions"), number(view.checkouts), _("last minute"), _("that ended, of all clients")),
        ]
    else:
        told = [_wait(view), _timeouts(view, now)]
    return (_used(view), _waiting(view), *told)


def _used(view: TargetView) -> Tile:
    """Of the role that has the least room: what others may open serves none of its requests."""
    worst = view.roles[0] if view.roles else None
    used, capacity = (worst.used, worst.capacity) if worst else (view.used, view.capacity)
    of = _("of %(n)s") % {"n": number(capacity)}
    title = _("checked out, of the most that the processes together may open now")
    if worst and len(view.roles) > 1:
        of = _("of %(n)s, %(role)s") % {"n": number(capacity), "role": worst.role}
        sums = {"used": number(view.used), "all": number(view.capacity)}
        title += _("; %(used)s of %(all)s in all roles") % sums
    return Tile(_("In use"), number(used), of, title, "warning" if worst and worst.full else "")


def _waiting(view: TargetView) -> Tile:
    longest = _("the longest for %(time)s") % {"time": duration(view.oldest_wait)} if view.oldest_wait else ""
    title = _("requests that wait for a connection now")
    return Tile(_("Waiting"), number(view.pending), longest, title, "warning" if view.pending else "")


def _wait(view: TargetView) -> Tile:
    p95 = view.wait.quantile(0.95)
    title = _("95 of 100 requests of the last minute waited less, those that waited in vain included")
    return Tile(_("Wait p95"), duration(p95), "", title)


def _timeouts(view: TargetView, now: float) -> Tile:
    when = _("last minute")
    if view.timeouts and view.last_timeout_at:
        when = _("the last %(ago)s") % {"ago": ago(now - view.last_timeout_at)}
    return Tile(
        _("Timeouts"),
        number(view.timeouts),
        when,
        _("requests of the last minute that got no connection in time"),
        "critical" if view.timeouts else "",
    )


def _times(label: str, spread: Distribution) -> Times:
    count = spread.count
    said = ngettext("%(n)s in the last minute", "%(n)s in the last minute", count) % {"n": number(count)}
    p50, p95, p99 = (timed(spread.quantile(q)) for q in (0.5, 0.95, 0.99))
    return Times(label, p50, p95, p99, said)


def _means(view: TargetView) -> tuple[tuple[str, Figure], ...]:
    """Of a server that tells no more."""
    return (
        (_("Mean wait time"), timed(view.means.get("wait"))),
        (_("Mean transaction"), timed(view.means.get("use"))),
    )


def _holders(
    view: TargetView, fleet: Fleet, kind: Kind, statements: bool, in_the_way: Mapping[int, str]
) -> tuple[HolderLine, ...]:
    # What some drivers were told behind a pooler is no process, or a stranger's.
    ends = not any(look and look.behind_pooler for look in (view.last_health, view.seen))
    found = [
        (holder, beat)
        for beat in fleet.processes
        for pool in beat.pools
        if pool.target == view.target
        for holder in pool.holders
    ]
    found.sort(key=lambda pair: -pair[0].seconds)
    return tuple(
        HolderLine(
            process=f"{beat.host}:{beat.pid}",
            label=_label(each, beat),
            request=each.request,
            thread=each.thread,
            state=str(HOLDER_STATES.get(each.state, "")),
            loiters=each.state in ("in transaction", "failed transaction"),
            statement=each.statement if statements else "",
            seconds=timed(each.seconds),
            end=f"{kind.end} {each.backend_pid}" if each.backend_pid and ends else "",
            pinned=each.pinned,
            address=holder_address(beat.uid, view.target, each.checkout),
            blocked_by=in_the_way.get(each.backend_pid, ""),
        )
        for each, beat in found[:_HOLDERS]
    )


def _label(holder: Holder, beat: ProcessBeat) -> str:
    """What it is held for; of a command's process, the command."""
    return holder.label or (beat.name if beat.role == "command" else "")
