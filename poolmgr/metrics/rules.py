"""What may be said of pools, by their figures: each rule is named as the verdict that it gives, or gives none.

The gravest come first, and a cause before what it leads to. The names are stable: pages and events refer to them.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite

from poolmgr.metrics.figures import Figures
from poolmgr.metrics.phrases import as_phrase, bare, capital, counted, joined, phrase
from poolmgr.metrics.places import in_use
from poolmgr.metrics.words import NO_SLOT, span

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
    return ("unknown", phrase("The pool is closed.")) if f.closed >= f.pools else None


def server_full(f: Figures) -> Said:
    """Who has the slots is what matters: a larger pool could not be filled."""
    if NO_SLOT not in f.last_error.lower():
        return None
    said: str = phrase("The server has no connection slot left")
    if f.address:
        said = phrase("The server at %(address)s has no connection slot left", address=f.address)
    if f.slots:
        said = phrase("%(full)s: %(slots)s", full=said, slots=f.slots)
    else:
        said = phrase("%(full)s, and nobody of ours can ask it who has them", full=said)
    has_failed = bool(f.timeouts and f.last_timeout <= JUST)
    failed = [_got_none_lately(f.timeouts)] if has_failed else []
    state = "critical" if has_failed or f.pending or not f.used + f.idle else "warning"
    return state, _sentence([said, *failed, _who_waits(f) if f.pending else f.in_all])


def unreachable(f: Figures) -> Said:
    if not f.last_error or f.used + f.idle:
        return None
    error = _known(f.last_error)
    if not f.address:
        return "critical", phrase("No connection can be opened: %(error)s.", error=error)
    return "critical", phrase("No connection can be opened to %(address)s: %(error)s.", address=f.address, error=error)


def paused(f: Figures) -> Said:
    """As it was ordered, until somebody fails by it."""
    if not f.paused:
        return None
    said = [_paused_where(f)]
    failed = f.pause.timeouts if f.pause else 0
    waits = counted(f.pending, "%(n)s request waits for the resume", "%(n)s requests wait for the resume")
    if f.pending and f.oldest_wait:
        left = span(f.connection_timeout - f.oldest_wait)
        said.append(phrase("%(waits)s, and the next fails in %(time)s", waits=waits, time=left))
    else:
        said.append(waits)
    if failed:
        said.append(counted(failed, "%(n)s has failed since", "%(n)s have failed since"))
    return "critical" if failed else "warning", _sentence(said)


def _paused_where(f: Figures) -> str:
    if f.paused == f.pools:
        said = phrase("Paused")
    else:
        said = phrase("Paused in %(paused)s of %(pools)s processes", paused=f.paused, pools=f.pools)
    if f.pause is None:
        return said
    time = span(f.pause.seconds)
    if f.pause.author:
        return phrase("%(paused)s by %(author)s for %(time)s", paused=said, author=f.pause.author, time=time)
    return phrase("%(paused)s for %(time)s", paused=said, time=time)


def blocked_and_waiting(f: Figures) -> Said:
    """The pool is full since its holders wait for somebody's lock: neither a larger pool nor a recycle would help."""
    if not f.blocked or not f.blocked_where_full:
        return None
    said = [f.blocked.sentence]
    if f.pending:
        said.append(phrase("because of it %(waits)s", waits=_who_waits(f)))
    if f.timeouts:
        said.append(_got_none_lately(f.timeouts))
    return "critical", _sentence(said)


def exhausted(f: Figures) -> Said:
    if f.timeouts and (f.pending or f.last_timeout <= JUST):
        failed = _got_none_lately(f.timeouts)
        if isfinite(f.last_timeout):
            failed = phrase("%(failed)s, the last %(time)s ago", failed=failed, time=span(f.last_timeout))
        why = [_connects_fail(f)] if f.last_error else []
        return "critical", _sentence([failed, *why, _who_waits(f)])
    return None


def over_budget(f: Figures) -> Said:
    if f.budget and f.held > max(f.budget, f.floors[0] * f.floors[1]):
        held = counted(
            f.held,
            "%(n)s connection is held of a budget of %(budget)s",
            "%(n)s connections are held of a budget of %(budget)s",
            budget=f.budget,
        )
        return "critical", _sentence([held, f.in_all])
    return None


def refused(f: Figures) -> Said:
    if not f.refused:
        return None
    return "critical", counted(
        f.refused,
        "%(n)s transaction was refused in the last minute: pool_mode is statement, which allows no atomic(); "
        "set it to transaction.",
        "%(n)s transactions were refused in the last minute: pool_mode is statement, which allows no atomic(); "
        "set it to transaction.",
    )


def connects_fail(f: Figures) -> Said:
    if not f.last_error:
        return None
    return "warning", _sentence([capital(_connects_fail(f)), f.in_all])


def waiting(f: Figures) -> Said:
    if not f.pending:
        return None
    about_to_fail = f.oldest_wait >= ABOUT_TO_FAIL * f.connection_timeout
    return "critical" if about_to_fail else "warning", _sentence([_who_waits(f)])


def blocked(f: Figures) -> Said:
    return ("warning", _sentence([f.blocked.sentence, f.in_all])) if f.blocked else None


def failed_lately(f: Figures) -> Said:
    if not f.timeouts:
        return None
    failed: str = counted(f.timeouts, "%(n)s request got no connection", "%(n)s requests got no connection")
    if isfinite(f.last_timeout):
        failed = phrase("%(failed)s, the last %(time)s ago", failed=failed, time=span(f.last_timeout))
    return "warning", _sentence([failed, phrase("nobody waits now, %(in_all)s", in_all=f.in_all)])


def slow(f: Figures) -> Said:
    p95 = f.wait.quantile(0.95) if f.wait.count >= ENOUGH_WAITS else None
    if p95 is None or p95 <= WAIT_SHARE * f.connection_timeout:
        return None
    long = phrase(
        "Requests wait long: p95 %(p95)s s, and they fail at %(timeout)s s",
        p95=float(f"{p95:.2g}"),
        timeout=float(f.connection_timeout),
    )
    return "warning", _sentence([long, f.in_all])


def budget_too_small(f: Figures) -> Said:
    unkept = unkept_budget(f.budget, *f.floors)
    return ("warning", _sentence([unkept, f.in_all])) if unkept else None


def problem(f: Figures) -> Said:
    return ("warning", _sentence([_known(f.problems[0])])) if f.problems else None


def not_following(f: Figures) -> Said:
    if not f.behind:
        return None
    late = counted(
        f.behind,
        "%(n)s process does not follow the newest settings yet",
        "%(n)s processes do not follow the newest settings yet",
    )
    return "warning", _sentence([late, f.in_all])


RULES: tuple[Callable[[Figures], Said], ...] = (
    closed,
    server_full,
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
    return counted(
        floor,
        "%(processes)s processes may hold %(n)s connection each whatever the budget, and it is %(budget)s",
        "%(processes)s processes may hold %(n)s connections each whatever the budget, and it is %(budget)s",
        processes=processes,
        budget=budget,
    )


def _who_waits(f: Figures) -> str:
    """For how long, and where there is no room."""
    waits: str = counted(f.pending, "%(n)s request waits", "%(n)s requests wait")
    if f.oldest_wait:
        longest, timeout = span(f.oldest_wait), span(f.connection_timeout)
        waits = phrase("%(waits)s, the longest for %(time)s of %(timeout)s", waits=waits, time=longest, timeout=timeout)
    return joined("; ", [waits, in_use(f.roles)])


def _got_none_lately(number: int) -> str:
    return counted(
        number,
        "%(n)s request got no connection in the last minute",
        "%(n)s requests got no connection in the last minute",
    )


def _connects_fail(f: Figures) -> str:
    return phrase("new connections fail: %(error)s", error=_known(f.last_error))


def _sentence(parts: list[str]) -> str:
    return phrase("%(said)s.", said=joined("; ", parts))


def _known(words: str) -> str:
    """What a process reports, as a phrase again where it was one."""
    return bare(as_phrase(words))
