"""The sentences of a checkout that failed: which of the causes it was, with the figures."""

from __future__ import annotations

from time import monotonic

from poolmgr.exceptions import CheckoutError
from poolmgr.pools.diagnosis import Diagnosis, diagnose
from poolmgr.secrets import scrub
from poolmgr.targets.postgresql import sizing, view
from poolmgr.targets.postgresql.errors import ERRORS, PoolExhausted, PoolPaused, ServerDown
from poolmgr.targets.postgresql.state import PoolState


def timed_out(state: PoolState, timeout: float) -> CheckoutError:
    """Why nothing came free within ``timeout`` seconds."""
    seen, error = view.snapshot(state, uses=False), state.pool.last_error
    waited = f"no connection to {state.target!r} within {timeout:g} s"
    if state.pool.paused:
        return PoolPaused(f"{waited}: the pool is paused; resume it, or wait for whoever paused it", state.target)
    if (left := sizing.left_over(state)) and seen.idle == 0:
        sentence = f"{waited}: pool exhausted: {left} of a pool that was closed before are out still"
        return PoolExhausted(f"{sentence} ({figures(state)})", state.target)
    if seen.limit == 0:
        return _not_allowed(state, waited)
    if error is not None and (seen.used == 0 or seen.size < seen.limit):
        found = diagnose(error)
        return _found(state, found, f"{waited}: {found.sentence} ({state.address}; {figures(state)})")
    if state.refused_at > monotonic() - timeout:
        sentence = f"{waited}: the check in OPTIONS['pool'] refuses the connections to {state.address}"
        return ServerDown(f"{sentence} ({figures(state)})", state.target)
    if seconds := _prepares_for(state, timeout / 2):
        what = "what prepares a new connection (time zone, role, the site's hooks)"
        sentence = f"{waited}: the server accepts, but {what} has not come to its end in {seconds:.1f} s"
        return ServerDown(f"{sentence} ({state.address}; {figures(state)})", state.target)
    stuck = seen.used < seen.limit and state.pool.connects_slowly(timeout / 2)
    if stuck or (seen.used == 0 and seen.idle == 0):
        sentence = f"{waited}: the server at {state.address} does not answer ({figures(state)})"
        return ServerDown(sentence, state.target)
    return PoolExhausted(f"{waited}: pool exhausted ({figures(state)}){holders(state)}", state.target)


def _prepares_for(state: PoolState, patience: float) -> float:
    """Seconds for which the preparation of a connection has been under way, where that is more than ``patience``."""
    with state.pool._lock:
        seconds = monotonic() - min((each.began for each in state.preparations), default=monotonic())
    return seconds if seconds >= patience else 0.0


def _not_allowed(state: PoolState, waited: str) -> CheckoutError:
    failure = state.allowance.failure if state.allowance else None
    if failure:
        where = f"{state.address}; {figures(state)}"
        return _found(state, failure, f"{waited}: {failure.sentence} ({where})")
    if not state.spec.budget:
        sentence = f"{waited}: this process does not know its settings yet ({figures(state)})"
        return ServerDown(sentence, state.target)
    sentence = (
        f"{waited}: pool exhausted: the fleet's budget of {state.spec.budget} has left this process no connection"
    )
    return PoolExhausted(f"{sentence} ({figures(state)})", state.target)


def too_many(state: PoolState, cls: type[CheckoutError]) -> CheckoutError:
    """Why the checkout was not even queued."""
    limit = state.spec.max_waiting
    sentence = f"no connection to {state.target!r}: {limit} requests wait already, which is max_waiting"
    return cls(f"{sentence} ({figures(state)}){holders(state)}", state.target)


def refused(state: PoolState, error: Exception) -> CheckoutError:
    """Why nothing is to be had however long one waits."""
    found = diagnose(error)
    return _found(state, found, f"no connection to {state.target!r}: {found.sentence} ({state.address})")


def _found(state: PoolState, found: Diagnosis, sentence: str) -> CheckoutError:
    return ERRORS.get(found.cls, found.cls)(sentence, state.target)


def last_error(state: PoolState) -> str:
    """Why the last connect failed, if none has succeeded since."""
    error = state.pool.last_error
    return "" if error is None else diagnose(error).sentence


def figures(state: PoolState) -> str:
    seen = view.snapshot(state, uses=False)
    closing = f", {seen.closing} closing" if seen.closing else ""
    held = f"{seen.used} in use, {seen.idle} idle, {seen.opening} opening{closing}"
    return f"{held} of {seen.limit}, {seen.pending} waiting"


def holders(state: PoolState) -> str:
    """The oldest checkouts, as an operator would ask for them first."""
    held = view.snapshot(state, uses=False).holders[:3]
    if not held:
        return ""
    told = (f"{each.who} for {each.seconds:.1f} s" + (f" ({each.pinned})" if each.pinned else "") for each in held)
    return scrub("; held longest by " + ", ".join(told))
