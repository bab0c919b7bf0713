"""From figures to a state and a sentence: pure, so that every page and program says the same of the same figures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from poolmgr.metrics.figures import Figures, pause_of, place_of, since, still_refused
from poolmgr.metrics.phrases import as_phrase, phrase
from poolmgr.metrics.places import by_role
from poolmgr.metrics.rules import RULES
from poolmgr.metrics.snapshot import PoolSnapshot

#: From harmless to bad. Not to know ranks above a warning: it may hide anything.
STATES = ("ok", "warning", "unknown", "critical")

#: Shares of the server's usable connections. The last tenth is what a deploy or a second fleet needs to start at all.
SERVER_WARNING, SERVER_CRITICAL = 0.8, 0.95
#: A check is old when three of its intervals passed, but never before this many seconds.
OLD = 90.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """``state`` is ok, warning, critical or unknown; ``sentence`` says why, with the figures; ``code`` is the rule's name."""

    state: str
    sentence: str
    code: str = field(default="", compare=False)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The worst verdict, the first of equals; unknown for none."""
    return max(
        verdicts, key=lambda each: STATES.index(each.state), default=Verdict("unknown", phrase("Nothing is known."))
    )


@dataclass(frozen=True, slots=True)
class Checked:
    """The values of a stored health check. Times in seconds, None where the step was not reached."""

    target: str
    state: str
    sentence: str
    at: datetime
    connect_time: float | None = None
    query_time: float | None = None
    server_used: int | None = None
    server_max: int | None = None
    server_reserved: int | None = None
    ours: int | None = None
    behind_pooler: bool = False
    server_version: str = ""

    def is_fresh(self, interval: float, now: datetime) -> bool:
        """Whether it still says something, where checks are made every ``interval`` seconds."""
        return (now - self.at).total_seconds() <= max(OLD, 3 * interval)


def verdict_of(role: str, place: str, pool: PoolSnapshot, now: float) -> Verdict:
    """The verdict on one pool of one process, at ``now`` in seconds since the epoch."""
    return judge(
        Figures(
            roles=by_role([place_of(role, place, pool)]),
            timeouts=pool.recent_timeouts,
            last_timeout=since(pool.last_timeout_at, now),
            connection_timeout=pool.connection_timeout,
            wait=pool.recent_wait_time,
            paused=int(pool.status == "paused"),
            pause=pause_of([pool], "", now),
            closed=int(pool.status == "closed"),
            last_error=pool.last_error,
            refused=still_refused(pool),
            address=pool.address,
        )
    )


def ease(pool: PoolSnapshot) -> tuple[int, float, float]:
    """The less, the sooner a pool has to be looked at: by its queue, its room and its longest checkout."""
    return -pool.pending, -pool.used / (pool.limit or pool.max_size or 1), -pool.oldest_checkout


def judge(figures: Figures) -> Verdict:
    """The first rule that fits decides, and one sentence is enough to act on."""
    for rule in RULES:
        if (found := rule(figures)) is not None:
            return Verdict(*found, code=rule.__name__)
    said = phrase("%(in_all)s, %(idle)s idle, nobody waits.", in_all=figures.in_all, idle=figures.idle)
    return Verdict("ok", said, code="ok")


def judge_server(used: int | None, most: int | None, reserved: int, unit: str = "server connections") -> Verdict:
    """How full a server is: ``used`` of ``most``, in ``unit``, of which ``reserved`` are kept from us; None if untold."""
    if used is None:
        return Verdict("ok", phrase("The server answers."))
    if most is None:
        return Verdict("ok", phrase("%(used)s %(unit)s used.", used=used, unit=as_phrase(unit)))
    room = max(1, most - reserved)
    share = used / room
    said = phrase("%(used)s of %(room)s %(unit)s used", used=used, room=room, unit=as_phrase(unit))
    percent = f"{share:.0%}"
    if share >= SERVER_CRITICAL:
        return Verdict("critical", phrase("The server is nearly full: %(said)s (%(share)s).", said=said, share=percent))
    if share >= SERVER_WARNING:
        return Verdict("warning", phrase("The server fills up: %(said)s (%(share)s).", said=said, share=percent))
    return Verdict("ok", phrase("%(said)s.", said=said))
