"""From figures to a state and a sentence: pure, so that every page and program says the same of the same figures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from poolmgr.metrics.figures import Figures, pause_of, place_of, since, still_refused
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
    return max(verdicts, key=lambda each: STATES.index(each.state), default=Verdict("unknown", "Nothing is known."))


@dataclass(frozen=True, slots=True)
class Checked:
    """The values of a stored health check. Times in seconds, None where the step was not reached."""

    target: str
    state: str
    message: str
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
        )
    )


def judge(figures: Figures) -> Verdict:
    """The first rule that fits decides, and one sentence is enough to act on."""
    for rule in RULES:
        if (found := rule(figures)) is not None:
            return Verdict(*found, code=rule.__name__)
    return Verdict("ok", f"{figures.in_all}, {figures.idle} idle, nobody waits.", code="ok")


def judge_server(used: int | None, most: int | None, reserved: int, unit: str = "server connections") -> Verdict:
    """How full a server is: ``used`` of ``most``, in ``unit``, of which ``reserved`` are kept from us; None if untold."""
    if used is None:
        return Verdict("ok", "The server answers.")
    if most is None:
        return Verdict("ok", f"{used} {unit} used.")
    room = max(1, most - reserved)
    share = used / room
    sentence = f"{used} of {room} {unit} used"
    if share >= SERVER_CRITICAL:
        return Verdict("critical", f"The server is nearly full: {sentence} ({share:.0%}).")
    if share >= SERVER_WARNING:
        return Verdict("warning", f"The server fills up: {sentence} ({share:.0%}).")
    return Verdict("ok", f"{sentence}.")
