"""What may be said of pools, by their figures: each rule is named as the verdict that it gives, or gives none.

The gravest come first, and a cause before what it leads to. The names are stable: pages and events refer to them.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite

from poolmgr.metrics.figures import Figures
from poolmgr.metrics.places import in_use
from poolmgr.metrics.words import bare, count, span

#: A p95 wait above this share of connection_timeout warns: a burst twice as long would begin to fail requests.
WAIT_SHARE = 0.25
#: Below this many waits a p95 is an anecdote.
ENOUGH_WAITS = 20
#: A request that has waited for so much of its connection_timeout is about to fail.
ABOUT_TO_FAIL = 0.5
#: Seconds for which a failure is told as what happens now.
JUST = 10.0

#: A state and a sentence.
Said = tuple[str, str] | None


def closed(f: Figures) -> Said:
    return ("unknown", "The pool is closed.") if f.closed >= f.pools else None


def unreachable(f: Figures) -> Said:
    if f.last_error and not f.used + f.idle:
        return "critical", f"No connection can be opened: {bare(f.last_error)}."
    return None


def paused(f: Figures) -> Said:
    """As it was ordered, until somebody fails by it."""
    if not f.paused:
        return None
    said = "Paused" if f.paused == f.pools else f"Paused in {f.paused} of {f.pools} processes"
    failed = 0
    if f.pause:
        said += f" by {f.pause.author}" * bool(f.pause.author) + f" for {span(f.pause.seconds)}"
        failed = f.pause.timeouts
    said += f"; {count(f.pending, 'request waits', 'requests wait')} for the resume"
    if f.pending and f.oldest_wait:
        said += f", and the next fails in {span(f.connection_timeout - f.oldest_wait)}"
    if failed:
        said += f"; {count(failed, 'has failed', 'have failed')} since"
    return "critical" if failed else "warning", f"{said}."


def blocked_and_waiting(f: Figures) -> Said:
    """The pool is full since its holders wait for somebody's lock: neither a larger pool nor a recycle would help."""
    if not f.blocked or not f.blocked_where_full:
        return None
    failed = f"; {count(f.timeouts, 'request', 'requests')} got no connection in the last minute" if f.timeouts else ""
    waits = f"; because of it {_who_waits(f)}" if f.pending else ""
    return "critical", f"{f.blocked.sentence}{waits}{failed}."


def exhausted(f: Figures) -> Said:
    if f.timeouts and (f.pending or f.last_timeout <= JUST):
        failed = count(f.timeouts, "request", "requests")
        return "critical", f"{failed} got no connection in the last minute{_last(f)}; {_who_waits(f)}."
    return None


def over_budget(f: Figures) -> Said:
    if f.budget and f.held > max(f.budget, f.floors[0] * f.floors[1]):
        return "critical", f"{f.held} connections are held of a budget of {f.budget}; {f.in_all}."
    return None


def refused(f: Figures) -> Said:
    if not f.refused:
        return None
    said = count(f.refused, "transaction was refused", "transactions were refused")
    return (
        "critical",
        f"{said} in the last minute: pool_mode is statement, which allows no atomic(); set it to transaction.",
    )


def connects_fail(f: Figures) -> Said:
    return ("warning", f"New connections fail: {bare(f.last_error)}; {f.in_all}.") if f.last_error else None


def waiting(f: Figures) -> Said:
    if not f.pending:
        return None
    about_to_fail = f.oldest_wait >= ABOUT_TO_FAIL * f.connection_timeout
    said = _who_waits(f)
    return "critical" if about_to_fail else "warning", f"{said[:1].upper()}{said[1:]}."


def blocked(f: Figures) -> Said:
    return ("warning", f"{f.blocked.sentence}; {f.in_all}.") if f.blocked else None


def failed_lately(f: Figures) -> Said:
    if not f.timeouts:
        return None
    failed = count(f.timeouts, "request", "requests")
    return "warning", f"{failed} got no connection{_last(f)}; nobody waits now, {f.in_all}."


def slow(f: Figures) -> Said:
    p95 = f.wait.quantile(0.95) if f.wait.count >= ENOUGH_WAITS else None
    if p95 is None or p95 <= WAIT_SHARE * f.connection_timeout:
        return None
    return (
        "warning",
        f"Requests wait long: p95 {p95:.2g} s, and they fail at {f.connection_timeout:g} s; {f.in_all}.",
    )


def budget_too_small(f: Figures) -> Said:
    unkept = unkept_budget(f.budget, *f.floors)
    return ("warning", f"{unkept}; {f.in_all}.") if unkept else None


def problem(f: Figures) -> Said:
    return ("warning", f"{bare(f.problems[0])}.") if f.problems else None


def not_following(f: Figures) -> Said:
    if not f.behind:
        return None
    late = count(f.behind, "process does", "processes do")
    return "warning", f"{late} not follow the newest settings yet; {f.in_all}."


RULES: tuple[Callable[[Figures], Said], ...] = (
    closed,
    unreachable,
    paused,
    blocked_and_waiting,
    exhausted,
    over_budget,
    refused,
    connects_fail,
    waiting,
    blocked,
    failed_lately,
    slow,
    budget_too_small,
    problem,
    not_following,
)


def unkept_budget(budget: int, processes: int, floor: int) -> str:
    """A sentence without its full stop, when ``processes`` that keep ``floor`` each can't keep a budget; else ""."""
    if not budget or processes * floor <= budget:
        return ""
    each = count(floor, "connection", "connections")
    return f"{processes} processes may hold {each} each whatever the budget, and it is {budget}"


def _who_waits(f: Figures) -> str:
    """For how long, and where there is no room."""
    longest = ""
    if f.oldest_wait:
        longest = f", the longest for {span(f.oldest_wait)} of {span(f.connection_timeout)}"
    return f"{count(f.pending, 'request waits', 'requests wait')}{longest}; {in_use(f.roles)}"


def _last(f: Figures) -> str:
    return f", the last {span(f.last_timeout)} ago" if isfinite(f.last_timeout) else ""
