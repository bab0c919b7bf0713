"""When a pool connects: one connection at a time for those who wait, and up to min_size at once."""

from __future__ import annotations

from functools import partial
from time import monotonic

from poolmgr.pools.core.connecting import open_slot
from poolmgr.pools.core.leaving import close, leave, patience, see_off
from poolmgr.pools.core.slot import Slot
from poolmgr.pools.core.state import State

#: Seconds after which a connect under way keeps nobody from trying another.
_SLOW = 1.0


def grow(state: State) -> None:
    """Begin the connects that are wanted and that there is room for."""
    with state.lock:
        now = monotonic()
        number = _wanted(state, now)
        state.called = state.called and not number
        _take_places(state, number, now)
    for _ in range(number):
        state.workers.run(partial(_connect, state, now))


def _take_places(state: State, number: int, now: float) -> None:
    state.places += number
    state.connecting.extend([now] * number)


def _wanted(state: State, now: float) -> int:
    if state.retired or not state.opened or now < state.retry_at or now >= state.lapses:
        return 0
    most = state.most
    missing = min(state.least, most) - state.present if now >= state.fill_at else 0
    # One at a time, so that a spike of short requests doesn't open one each.
    if (state.waiting or state.called) and not state.paused and not _is_under_way(state, now):
        missing = max(missing, 1)
    return max(0, min(missing, most - state.places))


def _is_under_way(state: State, now: float) -> bool:
    return bool(state.connecting) and now - max(state.connecting) < _SLOW


def _connect(state: State, began: float) -> None:
    try:
        slot = open_slot(state, began)
    except Exception:  # which is noted
        return
    if _is_outdated(state, slot):
        renew(state, slot)
    else:
        admit(state, slot)


def _is_outdated(state: State, slot: Slot) -> bool:
    """Whether fresh ones were asked for while it connected, and nobody waits who is better off with it."""
    with state.lock:
        return slot.generation != state.generation and not state.waiting


def admit(state: State, slot: Slot) -> None:
    """Have a connection that nobody owns serve, if there is still room for it."""
    now = monotonic()
    with state.lock:
        serves = not state.retired and state.present <= state.most and now < state.lapses
        if serves:
            state.hand_on(slot, now)
        else:
            leave(state, slot)
    if not serves:
        see_off(state, [slot])
    state.grow()


def renew(state: State, old: Slot) -> Exception | None:
    """Put a fresh connection in the place of ``old``, which nobody owns and which is not idle. Waits.

    The fresh one is ready before the old one closes, unless the pool is at its limit: then the old one is gone first,
    since the limit holds. When the connect fails its error is returned, and ``old`` stays in service if it can.
    """
    with state.lock:
        began = monotonic()
        room = not state.retired and state.places < state.most
        if room:
            _take_places(state, 1, began)
        else:
            leave(state, old)
            state.renewing += 1
    try:
        return _renew(state, old, began, room)
    finally:
        if not room:
            with state.lock:
                state.renewing -= 1
                state.changed.notify_all()


def _renew(state: State, old: Slot, began: float, room: bool) -> Exception | None:
    if not room:
        close(state, old, began + patience(state))
        with state.lock:
            state.leaving.discard(old)
            if state.retired or state.present > state.most:
                state.places -= 1
                state.changed.notify_all()
                return None
            # Its place is its heir's.
            state.connecting.append(began)
    try:
        fresh = open_slot(state, began)
    except Exception as ex:
        if room:
            admit(state, old)
        return ex
    with state.lock:
        if room:
            leave(state, old)
        state.counts["renewed"] += 1
        state.changed.notify_all()
    if room:
        see_off(state, [old])
    admit(state, fresh)
    return None
