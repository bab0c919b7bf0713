"""The sentences of a checkout that failed: which of the causes it was, with the figures. Each is the library's error too."""

from __future__ import annotations

from time import monotonic

from poolmgr import exceptions as shared
from poolmgr.exceptions import CheckoutError
from poolmgr.metrics.snapshot import PoolSnapshot
from poolmgr.pools.core.state import State
from poolmgr.pools.core.view import snapshot
from poolmgr.secrets import replica, scrub


def timed_out(state: State, timeout: float) -> Exception:
    """Why nothing came free within ``timeout`` seconds. Its cause are the words of the connect that failed last."""
    seen, error = snapshot(state, uses=False), state.last_error
    made = _timed_out(state, seen, timeout)
    if isinstance(made, CheckoutError):
        made.__cause__ = error and replica(error)
    return made


def _timed_out(state: State, seen: PoolSnapshot, timeout: float) -> Exception:
    waited = f"no connection to {state.target!r} within {timeout:g} s"
    if seen.status == "paused":
        sentence = f"{waited}: the pool is paused; resume it, or wait for whoever paused it"
        return _error(state, shared.PoolPaused, sentence)
    if seen.limit == 0:
        return _not_allowed(state, seen, waited)
    error = state.last_error
    if error is not None and (seen.used == 0 or seen.size < seen.limit):
        if not state.driver.is_of_the_server(error):
            return replica(error)
        found = state.driver.diagnose(error)
        return _error(state, found.cls, f"{waited}: {found.sentence}{_where(state, figures(seen))}")
    if seen.used < seen.limit and (_connects_slowly(state, timeout / 2) or (not seen.used and not seen.idle)):
        at = f" at {state.address}" if state.address else ""
        sentence = f"{waited}: the server{at} does not answer ({figures(seen)})"
        return _error(state, shared.ServerDown, sentence)
    told = f"{waited}: pool exhausted ({figures(seen)}{_beside(state)}){holders(seen)}"
    return _error(state, shared.PoolExhausted, told)


def _connects_slowly(state: State, seconds: float) -> bool:
    with state.lock:
        return bool(state.connecting) and monotonic() - min(state.connecting) >= seconds


def _not_allowed(state: State, seen: PoolSnapshot, waited: str) -> CheckoutError:
    failure = state.allowance.failure if state.allowance else None
    if failure:
        return _error(state, failure.cls, f"{waited}: {failure.sentence}{_where(state, figures(seen))}")
    if not state.spec.budget:
        sentence = f"{waited}: this process does not know its settings yet ({figures(seen)})"
        return _error(state, shared.ServerDown, sentence)
    sentence = (
        f"{waited}: pool exhausted: the fleet's budget of {state.spec.budget} has left this process no connection"
    )
    return _error(state, shared.PoolExhausted, f"{sentence} ({figures(seen)})")


def too_many(state: State) -> CheckoutError:
    """Why the checkout was not even queued."""
    seen, limit = snapshot(state, uses=False), state.spec.max_waiting
    sentence = f"no connection to {state.target!r}: {limit} requests wait already, which is max_waiting"
    return _error(state, shared.TooManyWaiting, f"{sentence} ({figures(seen)}{_beside(state)}){holders(seen)}")


def refused(state: State, error: Exception) -> Exception:
    """Why nothing is to be had however long one waits. What the site's own code raised is told as it is."""
    if not state.driver.is_of_the_server(error):
        return replica(error)
    found = state.driver.diagnose(error)
    made = _error(state, found.cls, f"no connection to {state.target!r}: {found.sentence}{_where(state)}")
    made.__cause__ = replica(error)
    return made


def closed(state: State) -> CheckoutError:
    return _error(state, shared.PoolClosed, f"the pool of {state.target!r} is closed")


def _error(state: State, cls: type[CheckoutError], sentence: str) -> CheckoutError:
    return state.driver.errors.get(cls, cls)(sentence, state.target)


def _where(state: State, *more: str) -> str:
    """In brackets, if there is anything: a pool need not know its address."""
    told = "; ".join(filter(None, (state.address, *more)))
    return f" ({told})" if told else ""


def figures(seen: PoolSnapshot) -> str:
    closing = f", {seen.closing} closing" if seen.closing else ""
    held = f"{seen.used} in use, {seen.idle} idle, {seen.opening} opening{closing}"
    return f"{held} of {seen.limit}, {seen.pending} waiting"


def _beside(state: State) -> str:
    told = state.peers.figures() if state.peers is not None else ""
    return f"; {told}" if told else ""


def holders(seen: PoolSnapshot) -> str:
    """The oldest checkouts, as an operator would ask for them first."""
    if not seen.holders:
        return ""
    told = (f"{each.who} for {each.seconds:.1f} s" for each in seen.holders[:3])
    return scrub("; held longest by " + ", ".join(told))
