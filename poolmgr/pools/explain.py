"""The sentences of a checkout that failed: which of the causes it was, with the figures."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from poolmgr.exceptions import CheckoutError, PoolExhausted, PoolPaused, ServerDown
from poolmgr.pools.diagnosis import diagnose
from poolmgr.secrets import scrub

if TYPE_CHECKING:
    from poolmgr.pools.managed import ManagedPool


def timed_out(managed: ManagedPool, timeout: float) -> CheckoutError:
    """Why nothing came free within ``timeout`` seconds."""
    seen, error = managed.snapshot(), managed.pool.last_error
    waited = f"no connection to {managed.target!r} within {timeout:g} s"
    if managed.paused:
        return PoolPaused(f"{waited}: the pool is paused; resume it, or wait for whoever paused it", managed.target)
    if (left := managed.left_over()) and seen.idle == 0:
        sentence = f"{waited}: pool exhausted: {left} of a pool that was closed before are out still"
        return PoolExhausted(f"{sentence} ({figures(managed)})", managed.target)
    if seen.limit == 0:
        return _not_allowed(managed, waited)
    if error is not None and (seen.used == 0 or seen.size < seen.limit):
        found = diagnose(error)
        return found.cls(f"{waited}: {found.sentence} ({managed.address}; {figures(managed)})", managed.target)
    if managed.refused_at > monotonic() - timeout:
        sentence = f"{waited}: the check in OPTIONS['pool'] refuses the connections to {managed.address}"
        return ServerDown(f"{sentence} ({figures(managed)})", managed.target)
    if seconds := _prepares_for(managed, timeout / 2):
        what = "what prepares a new connection (time zone, role, the site's hooks)"
        sentence = f"{waited}: the server accepts, but {what} has not come to its end in {seconds:.1f} s"
        return ServerDown(f"{sentence} ({managed.address}; {figures(managed)})", managed.target)
    stuck = seen.used < seen.limit and managed.pool.connects_slowly(timeout / 2)
    if stuck or (seen.used == 0 and seen.idle == 0):
        sentence = f"{waited}: the server at {managed.address} does not answer ({figures(managed)})"
        return ServerDown(sentence, managed.target)
    return PoolExhausted(f"{waited}: pool exhausted ({figures(managed)}){holders(managed)}", managed.target)


def _prepares_for(managed: ManagedPool, patience: float) -> float:
    """Seconds for which the preparation of a connection has been under way, where that is more than ``patience``."""
    with managed.pool._lock:
        seconds = monotonic() - min((each.began for each in managed.preparations), default=monotonic())
    return seconds if seconds >= patience else 0.0


def _not_allowed(managed: ManagedPool, waited: str) -> CheckoutError:
    failure = managed.allowance.failure if managed.allowance else None
    if failure:
        where = f"{managed.address}; {figures(managed)}"
        return failure.cls(f"{waited}: {failure.sentence} ({where})", managed.target)
    if not managed.spec.budget:
        sentence = f"{waited}: this process does not know its settings yet ({figures(managed)})"
        return ServerDown(sentence, managed.target)
    sentence = (
        f"{waited}: pool exhausted: the fleet's budget of {managed.spec.budget} has left this process no connection"
    )
    return PoolExhausted(f"{sentence} ({figures(managed)})", managed.target)


def too_many(managed: ManagedPool, cls: type[CheckoutError]) -> CheckoutError:
    """Why the checkout was not even queued."""
    limit = managed.spec.max_waiting
    sentence = f"no connection to {managed.target!r}: {limit} requests wait already, which is max_waiting"
    return cls(f"{sentence} ({figures(managed)}){holders(managed)}", managed.target)


def refused(managed: ManagedPool, error: Exception) -> CheckoutError:
    """Why nothing is to be had however long one waits."""
    found = diagnose(error)
    return found.cls(f"no connection to {managed.target!r}: {found.sentence} ({managed.address})", managed.target)


def last_error(managed: ManagedPool) -> str:
    """Why the last connect failed, if none has succeeded since."""
    error = managed.pool.last_error
    return "" if error is None else diagnose(error).sentence


def figures(managed: ManagedPool) -> str:
    seen = managed.snapshot()
    closing = f", {seen.closing} closing" if seen.closing else ""
    held = f"{seen.used} in use, {seen.idle} idle, {seen.opening} opening{closing}"
    return f"{held} of {seen.limit}, {seen.pending} waiting"


def holders(managed: ManagedPool) -> str:
    """The oldest checkouts, as an operator would ask for them first."""
    held = managed.snapshot().holders[:3]
    if not held:
        return ""
    told = (f"{each.thread} for {each.seconds:.1f} s" + (f" ({each.pinned})" if each.pinned else "") for each in held)
    return scrub("; held longest by " + ", ".join(told))
