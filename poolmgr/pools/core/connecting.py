"""A connect, and what is noted of it."""

from __future__ import annotations

import logging
from math import inf
from time import monotonic

from poolmgr.exceptions import AuthenticationFailed
from poolmgr.pools.core import explain
from poolmgr.pools.core.driver import NotTried
from poolmgr.pools.core.slot import Place, Slot, referrers
from poolmgr.pools.core.state import State
from poolmgr.pools.core.ticker import ticker
from poolmgr.pools.diagnosis import Diagnosis
from poolmgr.secrets import disarm, scrub

logger = logging.getLogger("poolmgr.pool")

#: A failed connect is tried again after this many seconds while somebody waits.
RETRY_WHILE_WAITED = 0.25
#: The shortest pause between tries to fill a pool that nobody waits at; each is twice the last, up to the longest.
_PAUSE, _LONGEST_PAUSE = 1.0, 60.0


def open_slot(state: State, began: float) -> Slot:
    """Connect, in the place that was taken for it: ``began`` stands for it in ``connecting``.

    When that fails the place is free again, the failure is noted, and the library's error is raised.
    """
    with state.lock:
        generation = state.generation
    try:
        conn = state.driver.connect(_seconds_left(state, began))
    except BaseException as ex:
        error = _told(ex)
        _failed(state, error, began)
        if error is ex or error is None:
            raise
        raise error from None
    now = monotonic()
    slot = Slot(conn, state, state.driver.fileno(conn), state.driver.server_id(conn), generation, now)
    state.driver.bind(conn, slot)
    del conn
    with state.lock:
        state.connecting.remove(began)
        state.set_expiry(slot)
        state.living.add(slot)
        state.behind_pooler = slot.behind_pooler
        state.create_time.add(now - began)
        state.counts["created"] += 1
        state.last_error = None
        state.last_error_at = state.failing_since = state.fill_at = state.retry_at = 0.0
        state.outage.succeeded(now, began)
    of_conn, of_slot = referrers([slot])[0]
    slot.referrers = of_conn, of_slot - 1  # without this function
    return slot


def _seconds_left(state: State, began: float) -> float:
    """How long a connect may take. What would come after the lease's end would have room that others may have by then."""
    with state.lock:
        ends = inf if state.allowance is None else state.allowance.ends
        seconds = min(state.spec.connection_timeout, ends - began)
    if seconds <= 0:
        raise TimeoutError("the lease is over by which this process may connect")
    return seconds


def _told(error: BaseException) -> Exception | None:
    """What is told of a connect that failed. Whoever logs it, waits for it or asks for it later gets no frame that knows how
    we connect; what is no ``Exception``, such as a hook's SystemExit, was meant for the pool's thread alone."""
    if isinstance(error, NotTried):
        return None
    if isinstance(error, Exception):
        return disarm(error)
    return RuntimeError(scrub(f"{type(error).__name__}: {error}"))


def _failed(state: State, error: Exception | None, began: float) -> None:
    now = monotonic()
    with state.lock:
        state.connecting.remove(began)
        state.places -= 1
        state.changed.notify_all()
    if error is None:  # it could not begin
        ticker().at(now + RETRY_WHILE_WAITED, state.grow)
        return
    found = state.driver.diagnose(error)
    with state.lock:
        state.counts["create_errors"] += 1
        state.last_error, state.last_error_at = error, now
        state.failing_since = state.failing_since or now
        state.retry_at = now + RETRY_WHILE_WAITED
        state.fill_at = now + _pause(state, now)
        hopeless = _take_hopeless(state, found, error)
        line = state.outage.failed(found, now)
    for place in hopeless:
        place.fail(explain.refused(state, error))
    if line:
        logger.warning("pool %r: %s", state.target, line)
    ticker().at(now + RETRY_WHILE_WAITED, state.grow)


def _pause(state: State, now: float) -> float:
    lasted = now - state.failing_since
    if lasted > state.spec.reconnect_timeout:
        return _LONGEST_PAUSE
    # As long again as it has lasted: the pauses double.
    return min(max(_PAUSE, lasted), _LONGEST_PAUSE)


def _take_hopeless(state: State, found: Diagnosis, error: Exception) -> list[Place]:
    """The waiters that no retry will help, since no connection lives: the server refuses us, they would go elsewhere, or the
    site's own code fails."""
    if state.living:
        return []
    refused = found.cls is AuthenticationFailed or not state.driver.is_of_the_server(error)
    all_of_them = refused or not state.is_patient
    hopeless = [place for place in state.waiting if all_of_them or place.hurries]
    for place in hopeless:
        state.waiting.remove(place)
    return hopeless
