"""One deadline for a store in one piece of console work: who has waited in vain for it does not wait for it again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic, thread_time

from poolmgr.control.store.base import StoreDown
from poolmgr.pools.lane import present_work

#: Seconds above which a failure was a wait. One that comes at once costs nothing, however often.
_WAIT = 0.1
#: Seconds that may be waited altogether for a store which does answer; reading what it says is not waiting.
_LONGEST = 2.0
#: Seconds for which a piece of work remembers: one that takes minutes asks again.
_KEPT = 10.0


class _Waited:
    """What a piece of work has seen of a store. Threads may share it: what they miss of each other costs a wait."""

    __slots__ = ("said", "spent", "until")

    def __init__(self) -> None:
        self.spent = 0.0
        self.said = ""
        self.until = 0.0

    def give_up(self, sentence: str) -> None:
        self.said, self.spent, self.until = sentence, 0.0, monotonic() + _KEPT


@contextmanager
def patience(store: object, slow: str) -> Iterator[None]:
    """Around a call to ``store``. Raises at once the ``StoreDown`` that an earlier call of this piece of work has waited for.

    ``slow`` is its sentence for a store that answers, and takes too long for that. Outside the console lane each call is
    a piece of work.
    """
    work = present_work()
    if work is None:
        yield
        return
    waited: _Waited = work.memory.setdefault(store, _Waited())
    if monotonic() < waited.until:
        raise StoreDown(waited.said)
    began, worked = monotonic(), thread_time()
    try:
        yield
    except StoreDown as error:
        if monotonic() - began > _WAIT:
            waited.give_up(error.sentence)
        raise
    waited.spent += (monotonic() - began) - (thread_time() - worked)
    if waited.spent > _LONGEST:
        waited.give_up(slow)
