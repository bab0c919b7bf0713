"""Asking one process about a checkout, or to act on it, and waiting for what it answers."""

from __future__ import annotations

from secrets import token_hex
from time import monotonic, sleep

from poolmgr.conf import conf
from poolmgr.control.access import control_alias
from poolmgr.control.inquiry import LONGEST_ANSWER, Answer, Inquiry, What, read_answer
from poolmgr.control.reach import known_outage
from poolmgr.control.store import FleetStore, StoreDown, get_store
from poolmgr.control.store.database import DatabaseStore
from poolmgr.exceptions import ConfigurationError
from poolmgr.metrics.decoding import Unreadable
from poolmgr.metrics.snapshot import ProcessBeat

#: Seconds that are waited for an answer by a push; where its process finds the control database away, for which it waits too;
#: by rows beyond the process's next poll; and to an order longer, since a server has to hear of it.
_SOON, _AWAY, _BEYOND_THE_POLL, _LONGER = 2.5, 8.0, 2.0, 5.0
#: The longest that a page waits for a process that polls more seldom: it says that there was no answer.
_LONGEST = 20.0
#: Seconds between two looks for the answer, at first and at most.
_FIRST, _PAUSE = 0.01, 0.1
#: Seconds for which what was known of a checkout last is kept for who comes too late.
_REMEMBERED = 600.0


def ask(beat: ProcessBeat, what: What, target: str, checkout: str, author: str = "") -> Answer | None:
    """What the process of ``beat`` says, or does; None where it says nothing in time, and then does nothing any more.

    Through Redis, where both this process and that one have it: that takes moments, whatever the control database does. Else
    through rows. Raises ``StoreDown`` where there is neither, and ``Unreadable`` for an answer that can't be read.
    """
    store, seconds = _way_to(beat)
    seconds += 0.0 if what is What.LOOK else _LONGER
    inquiry = Inquiry(beat.uid, token_hex(12), what.value, target, checkout, author)
    store.ask(inquiry.uid, inquiry.name, inquiry.sealed(), seconds)
    if not store.pushes:
        get_store().wake()  # should it be this process
    found = _wait(store, inquiry.name, seconds)
    if found is not None and what is What.LOOK and found.holder is not None:
        store.answer(_memory(beat.uid, target, checkout), found.to_json(), _REMEMBERED)
    return found


def remembered(uid: str, target: str, checkout: str) -> Answer | None:
    """What somebody who has looked at this checkout saw last, within the last minutes. Never raises."""
    name = _memory(uid, target, checkout)
    for store in _stores():
        try:
            if text := store.answer_to(name, LONGEST_ANSWER):
                return read_answer(text)
        except (StoreDown, Unreadable):
            continue
    return None


def _stores() -> tuple[FleetStore, ...]:
    """Where there may be something; not rows that are known to be away, which would be waited for."""
    try:
        store = get_store()
    except ConfigurationError:
        return ()
    if not store.pushes:
        return (store,)
    return (store,) if known_outage(control_alias()) else (store, DatabaseStore())


def _way_to(beat: ProcessBeat) -> tuple[FleetStore, float]:
    """The store by which the process can be reached, and how long it may take to hear and answer."""
    store = get_store()
    if store.pushes and not beat.store_lost:
        try:
            store.notes(("",))
        except StoreDown:
            pass
        else:
            return store, _AWAY if beat.control_lost else _SOON
    poll = min(conf().POLL_INTERVAL, conf().PROCESS_TTL / 3)
    return DatabaseStore(), min(poll + _BEYOND_THE_POLL, _LONGEST)


def _wait(store: FleetStore, name: str, seconds: float) -> Answer | None:
    deadline, pause = monotonic() + seconds, _FIRST
    while True:
        if text := store.answer_to(name, LONGEST_ANSWER):
            return read_answer(text)
        if monotonic() >= deadline:
            return None
        sleep(pause)
        pause = min(2 * pause, _PAUSE)


def _memory(uid: str, target: str, checkout: str) -> str:
    return f"last/{uid}/{target}/{checkout}"
