"""From figures to a state and a sentence: pure, so that every page and program says the same of the same figures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from poolmgr.metrics.histogram import Distribution
from poolmgr.metrics.snapshot import PoolSnapshot

#: From harmless to bad. Not to know ranks above a warning: it may hide anything.
STATES = ("ok", "warning", "unknown", "critical")

#: A p95 wait above this share of connection_timeout warns: a burst twice as long would begin to fail requests.
WAIT_SHARE = 0.25
#: Below this many waits a p95 is an anecdote.
ENOUGH_WAITS = 20
#: Shares of the server's usable connections. The last tenth is what a deploy or a second fleet needs to start at all.
SERVER_WARNING, SERVER_CRITICAL = 0.8, 0.95
#: A check is old when three of its intervals passed, but never before this many seconds.
OLD = 90.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """``state`` is ok, warning, critical or unknown; ``sentence`` says why, with the figures."""

    state: str
    sentence: str


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


@dataclass(frozen=True, slots=True)
class Figures:
    """What a verdict looks at: of one pool, or summed over the pools of a target."""

    used: int
    idle: int
    opening: int
    pending: int
    capacity: int
    timeouts: int
    connection_timeout: float
    wait: Distribution
    pools: int = 1
    paused: int = 0
    closed: int = 0
    last_error: str = ""
    behind: int = 0
    refused: int = 0  # transactions of the last minute, by pools whose mode still refuses them
    problems: tuple[str, ...] = ()
    budget: int = 0
    held: int = 0  # under the budget: connections, those included that open or close
    floors: tuple[int, int] = (0, 0)  # the processes that share the budget, and what each may hold whatever it is


def verdict_of(pool: PoolSnapshot) -> Verdict:
    """The verdict on one pool of one process."""
    return judge(
        Figures(
            used=pool.used,
            idle=pool.idle,
            opening=pool.opening,
            pending=pool.pending,
            capacity=pool.limit or pool.max_size,
            timeouts=pool.recent_timeouts,
            connection_timeout=pool.connection_timeout,
            wait=pool.recent_wait_time,
            paused=int(pool.status == "paused"),
            closed=int(pool.status == "closed"),
            last_error=pool.last_error,
            refused=still_refused(pool),
        )
    )


def still_refused(pool: PoolSnapshot) -> int:
    """Transactions that statement mode refused in the last minute; 0 once the pool has another mode: that is over."""
    return pool.recent_refused if pool.pool_mode == "statement" else 0


def judge(figures: Figures) -> Verdict:
    """The first rule that fits decides: the gravest come first, and one sentence is enough to act on."""
    f = figures
    held = f"{f.used} of {f.capacity} connections in use"
    if f.closed >= f.pools:
        return Verdict("unknown", "The pool is closed.")
    if f.last_error and not f.used + f.idle:
        return Verdict("critical", f"No connection can be opened: {_bare(f.last_error)}.")
    if f.paused:
        scope = "" if f.paused == f.pools else f" in {f.paused} of {f.pools} processes"
        return Verdict(
            "warning", f"Paused{scope}; {_count(f.pending, 'request waits', 'requests wait')} for the resume."
        )
    if f.timeouts:
        failed = _count(f.timeouts, "request got no connection", "requests got no connection")
        return Verdict("critical", f"{failed} in the last minute; {held}, {f.pending} waiting.")
    if f.budget and f.held > max(f.budget, f.floors[0] * f.floors[1]):
        return Verdict("critical", f"{f.held} connections are held of a budget of {f.budget}; {held}.")
    if f.refused:
        refused = _count(f.refused, "transaction was refused", "transactions were refused")
        return Verdict(
            "critical",
            f"{refused} in the last minute: pool_mode is statement, which allows no atomic(); set it to transaction.",
        )
    if f.last_error:
        return Verdict("warning", f"New connections fail: {_bare(f.last_error)}; {held}.")
    if f.pending:
        return Verdict("warning", f"{_count(f.pending, 'request waits', 'requests wait')} for a connection; {held}.")
    p95 = f.wait.quantile(0.95) if f.wait.count >= ENOUGH_WAITS else None
    if p95 is not None and p95 > WAIT_SHARE * f.connection_timeout:
        return Verdict(
            "warning", f"Requests wait long: p95 {p95:.2g} s, and they fail at {f.connection_timeout:g} s; {held}."
        )
    if unkept := over_budget(f.budget, *f.floors):
        return Verdict("warning", f"{unkept}; {held}.")
    if f.problems:
        return Verdict("warning", f"{_bare(f.problems[0])}.")
    if f.behind:
        late = _count(f.behind, "process does", "processes do")
        return Verdict("warning", f"{late} not follow the newest settings yet; {held}.")
    return Verdict("ok", f"{held}, {f.idle} idle, nobody waits.")


def over_budget(budget: int, processes: int, floor: int) -> str:
    """A sentence without its full stop, when ``processes`` that keep ``floor`` each can't keep a budget; else ""."""
    if not budget or processes * floor <= budget:
        return ""
    each = _count(floor, "connection", "connections")
    return f"{processes} processes may hold {each} each whatever the budget, and it is {budget}"


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


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _bare(text: str) -> str:
    return text.strip().rstrip(".")
