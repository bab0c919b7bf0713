"""A checkout that is under way, as people look into it and act on it from outside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any

from poolmgr.metrics.phrases import phrase
from poolmgr.metrics.snapshot import Holder
from poolmgr.pools.entry import Entry
from poolmgr.pools.stopping import Stop

#: Seconds that a server is given to take a request to stop a statement.
PATIENCE = 5.0

OVER = phrase("It was over by then: whoever held it has given it back, and nobody else was touched.")
NOTHING_RUNS = phrase("Nothing runs on it now.")


class LeftAlone(Exception):
    """Nothing was done; the message is a ``sentence`` that says why."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


@dataclass(frozen=True, slots=True)
class Checkout:
    """``owner`` is the thread, task or greenlet that has it.

    ``cancel`` has the server stop the statement that runs, and returns when it has heard of it; ``end`` breaks the connection
    off. Both raise ``LeftAlone``, also where the checkout is over by then. They may wait for some seconds, and are called in
    a thread that can.
    """

    holder: Holder
    owner: Any
    cancel: Callable[[], None]
    end: Callable[[], None]


def cancel(lock: Any, entry: Entry, epoch: int, find: Callable[[], Stop]) -> None:
    """Stop what runs in the checkout ``epoch``; ``find`` tells how, which is called with the pool's lock held.

    The server names no statement that it stops, but its process: while the request is on its way nobody else may be lent the
    connection, and where nobody knows whether it arrived, never again.
    """
    with lock:
        _expect(entry, epoch)
        stop = find()
        entry.aim()
    heard = False
    try:
        heard = bool(stop(monotonic() + PATIENCE))
    finally:
        with lock:
            entry.hit(heard and entry.epoch == epoch)
    if not heard:
        raise LeftAlone(phrase("The server has not taken the request within %(time)s s.", time=float(PATIENCE)))


def end(lock: Any, entry: Entry, epoch: int, sever: Callable[[], object]) -> None:
    """Break the connection of the checkout ``epoch`` off, which nobody else is lent any more."""
    with lock:
        _expect(entry, epoch)
        if entry.is_ended:
            raise LeftAlone(phrase("It was ended already, and whoever holds it has yet to hear of that."))
        entry.end()
    sever()


def _expect(entry: Entry, epoch: int) -> None:
    if entry.owner is None or entry.epoch != epoch:
        raise LeftAlone(OVER)
