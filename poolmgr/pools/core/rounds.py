"""What a pool does by itself: once a second in the ticker's thread it decides, and leaves the I/O to its workers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from math import ceil
from queue import Empty, SimpleQueue
from time import monotonic

from poolmgr.pools.core import growing
from poolmgr.pools.core.auditing import audit
from poolmgr.pools.core.driver import Refused
from poolmgr.pools.core.leaving import leave, see_off
from poolmgr.pools.core.reclaiming import reclaim
from poolmgr.pools.core.slot import Slot
from poolmgr.pools.core.state import State
from poolmgr.pools.core.validation import PATIENCE, is_only_the_query
from poolmgr.pools.owners import stack_of, who
from poolmgr.pools.port import Recycled

logger = logging.getLogger("poolmgr.pool")

INTERVAL = 1.0


def look_after(state: State) -> None:
    """One round."""
    now = monotonic()
    with state.lock:
        state.history.note(now, state.wait_time, state.use_time, state.counts)
        state.uses.parts(state.out, now)
        line = state.outage.over(now)
    if line:
        logger.warning("pool %r: %s", state.target, line)
    state.uses.count(now)
    _forget_the_gone(state)
    reclaim(state)
    audit(state)
    _report_leaks(state, now)
    state.count(found_dead=sweep(state))
    _shrink(state, now)
    _renew_one(state, now)
    _keep_alive_some(state, now)
    state.grow()


def _forget_the_gone(state: State) -> None:
    # In a function of its own, which keeps nothing: who refers to a slot is counted next.
    with state.lock:
        for slot in state.living:
            slot.forget_the_gone()


def _report_leaks(state: State, now: float) -> None:
    threshold = state.spec.leak_threshold
    if not threshold:
        return
    with state.lock:
        late = [(slot, slot.owner, slot.label) for slot in state.out if now - slot.since > threshold]
        late = [each for each in late if each[0].leak_reported != each[0].epoch]
        late = [each for each in late if not state.driver.standing(each[0].conn)]
        for slot, *_ in late:
            slot.leak_reported = slot.epoch
        state.counts["leaks"] += len(late)
    for slot, owner, label in late:
        logger.warning(
            "pool %r: %s has held connection %s for %.1f s (leak_threshold %g s); it is now at\n%s",
            state.target,
            who(owner, label),
            slot.named,
            now - slot.since,
            threshold,
            stack_of(owner) or "(no stack)",
        )


def take_idle(
    state: State,
    wanted: Callable[[Slot], bool],
    most: int | None = None,
    first: Callable[[Slot], float] | None = None,
) -> list[Slot]:
    """Take idle connections that are ``wanted``, longest idle or least by ``first`` first; their places stay counted."""
    with state.lock:
        found = [slot for slot in state.idle if wanted(slot)]
        taken = (sorted(found, key=first) if first else found)[:most]
        for slot in taken:
            state.idle.remove(slot)
    return taken


def drop_idle(state: State, wanted: Callable[[Slot], bool]) -> int:
    """Give up the idle connections that are ``wanted``; returns how many."""
    with state.lock:
        taken = take_idle(state, wanted)
        for slot in taken:
            leave(state, slot)
    see_off(state, taken)
    return len(taken)


def sweep(state: State, *, silent: bool = False) -> int:
    """Drop the idle connections whose server end is gone; returns how many.

    With ``silent``, after one did not answer, those go too that are unused for as long as makes them doubtful.
    """
    now, limit = monotonic(), state.spec.validate_after_idle

    def is_dead(slot: Slot) -> bool:
        gone = slot.has_news(0) and state.driver.gone(slot.conn)
        return bool(gone) or (silent and now - slot.idle_since >= limit)

    if state.spec.validation == "off" and not silent:
        return 0
    return drop_idle(state, is_dead)


def _shrink(state: State, now: float) -> None:
    patience = state.spec.idle_timeout
    if not patience:
        return
    with state.lock:
        spare = max(0, state.present - state.least)
        taken = take_idle(state, lambda slot: now - slot.idle_since > patience, spare)
        for slot in taken:
            leave(state, slot)
    see_off(state, taken)


def _renew_one(state: State, now: float) -> None:
    # One a round: renewing all that were opened together at once would leave nobody to serve.
    for slot in take_idle(state, lambda slot: state.is_old(slot, now), 1):
        state.workers.run(partial(renew, state, slot))


def renew(state: State, slot: Slot) -> Exception | None:
    """Replace ``slot``, which nobody owns. Waits; returns the error when that failed."""
    error = growing.renew(state, slot)
    if error is not None:
        why = state.driver.diagnose(error).sentence
        logger.info("pool %r: a connection could not be replaced: %s", state.target, why)
    return error


def _keep_alive_some(state: State, now: float) -> None:
    interval = state.spec.keepalive_interval
    if not interval:
        return

    def due_at(slot: Slot) -> float:
        return max(slot.idle_since, slot.asked_at) + interval

    # As few as keep up: those that are asked serve nobody meanwhile.
    enough = ceil(len(state.idle) * INTERVAL / interval)
    for slot in take_idle(state, lambda slot: due_at(slot) < now, enough, first=due_at):
        state.workers.run(partial(_keep_alive, state, slot))


def _keep_alive(state: State, slot: Slot) -> None:
    try:
        state.driver.ask(slot.conn, state.spec.validation_query, monotonic() + PATIENCE)
    except Exception as ex:
        if not (isinstance(ex, Refused) and is_only_the_query(state, slot, ex)):
            _lose(state, slot, ex)
            return
    slot.asked_at = monotonic()
    with state.lock:
        wanted = bool(state.waiting) or state.present > state.most or state.retired
        if not wanted:
            # Back to where it was: a keepalive is no use, and must not keep a surplus connection from its idle_timeout.
            state.idle.appendleft(slot)
    if wanted:
        growing.admit(state, slot)


def _lose(state: State, slot: Slot, error: Exception) -> None:
    logger.info("pool %r: an idle connection was lost: %s", state.target, state.driver.diagnose(error).sentence)
    with state.lock:
        state.counts["found_dead"] += 1
        leave(state, slot)
    see_off(state, [slot])


def recycle(state: State, timeout: float) -> Recycled:
    """Replace what is idle now and what is used as it returns, for up to ``timeout`` seconds."""
    began = monotonic()
    deadline = began + timeout
    with state.lock:
        state.generation += 1
        generation, before = state.generation, state.counts["renewed"]

    def is_left(slot: Slot) -> bool:
        return slot.generation < generation

    while True:
        for slot in take_idle(state, is_left, 1):
            if error := _renew_in_worker(state, slot, deadline):
                why = state.driver.diagnose(error).sentence
                return Recycled(state.counts["renewed"] - before, _count(state, is_left), why)
        with state.changed:
            # What connects since before that is one more in a moment.
            left = _count(state, is_left) + state.renewing + sum(since <= began for since in state.connecting)
            seconds = deadline - monotonic()
            if not left or seconds <= 0 or state.retired:
                return Recycled(state.counts["renewed"] - before, left)
            if not any(map(is_left, state.idle)):
                # Not for all of it: one that breaks in use goes without notice.
                state.changed.wait(min(seconds, 0.5))


def _renew_in_worker(state: State, slot: Slot, deadline: float) -> Exception | None:
    # Whoever recycles may be interrupted, and what is between two steps must be seen to be under way.
    results: SimpleQueue[Exception | None] = SimpleQueue()
    state.workers.run(lambda: results.put(renew(state, slot)))
    try:
        return results.get(timeout=max(0.1, deadline - monotonic()))
    except Empty:  # it is replaced all the same
        return None


def _count(state: State, wanted: Callable[[Slot], bool]) -> int:
    with state.lock:
        return sum(map(wanted, state.living))
