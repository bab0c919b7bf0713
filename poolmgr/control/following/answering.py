"""What this process answers when it is asked about a checkout of its own, and what it does there when it is told to."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from threading import Thread
from time import time

from poolmgr.control.inquiry import MOST_BYTES, MOST_CALLS, Answer, Inquiry, What, opened
from poolmgr.control.store import FleetStore, StoreDown
from poolmgr.metrics.decoding import Unreadable
from poolmgr.metrics.phrases import phrase
from poolmgr.pools import registry
from poolmgr.pools.checkouts import Checkout, LeftAlone
from poolmgr.pools.owners import innermost
from poolmgr.targets.known import kind_named

log = logging.getLogger("poolmgr.agent")

#: Seconds for which an answer waits to be read.
_KEPT = 60.0


class Answers:
    """Used by the agent's thread; orders are carried out in threads of their own, since a server may take its time."""

    def __init__(self, uid: str, wake: Callable[[], None]) -> None:
        self._uid = uid
        self._wake = wake
        #: For a store that a thread of an order's can't write to.
        self._ready: deque[tuple[str, Answer]] = deque()

    def take(self, store: FleetStore) -> None:
        """Answer what was asked in ``store`` since. Raises ``StoreDown``."""
        while self._ready and not store.pushes:
            store.answer(*_told(*self._ready[0]))
            self._ready.popleft()
        for name, text in store.asked(self._uid):
            try:
                inquiry = opened(text)
            except Unreadable as error:
                log.warning("a question is left unanswered: %s", error)
                continue
            if (inquiry.uid, inquiry.name) == (self._uid, name):
                self._answer(inquiry, store)

    def _answer(self, inquiry: Inquiry, store: FleetStore) -> None:
        try:
            self._begin(inquiry, store)
        except StoreDown:
            raise
        except Exception as error:  # a library's own code; it must not keep the others from an answer
            log.exception("a checkout of %r could not be looked at", inquiry.target)
            store.answer(
                *_told(
                    inquiry.name,
                    Answer(time(), False, phrase("%(error)s; see the log of its process.", error=type(error).__name__)),
                )
            )

    def _begin(self, inquiry: Inquiry, store: FleetStore) -> None:
        pool = registry.get(inquiry.target)
        found = None if pool is None else pool.find_checkout(inquiry.checkout)
        if pool is None or found is None:
            store.answer(*_told(inquiry.name, Answer(time(), done=False)))
        elif inquiry.what == What.LOOK:
            stack = innermost(found.owner, MOST_CALLS, MOST_BYTES)
            store.answer(*_told(inquiry.name, Answer(time(), True, "", (found.holder,), stack)))
        else:
            name = f"poolmgr-{inquiry.what}"
            Thread(target=self._act, args=(inquiry, pool.kind, found, store), name=name, daemon=True).start()

    def _act(self, inquiry: Inquiry, kind: str, found: Checkout, store: FleetStore) -> None:
        why = kind_named(kind).denies.get(inquiry.what, "") or _carry_out(inquiry, found)
        holder, author = found.holder, inquiry.author
        log.warning(
            "pool %r: %s %s, ordered by %s: %s", inquiry.target, inquiry.what, holder.who, author, why or "done"
        )
        answer = Answer(time(), not why, why, (holder,))
        if not store.pushes:
            self._ready.append((inquiry.name, answer))
            self._wake()
            return
        try:
            store.answer(*_told(inquiry.name, answer))
        except StoreDown as error:
            log.warning("%s; nobody hears what became of it", error)


def _carry_out(inquiry: Inquiry, found: Checkout) -> str:
    """Why nothing was done, or ""."""
    try:
        (found.cancel if inquiry.what == What.CANCEL else found.end)()
    except LeftAlone as left:
        return left.sentence
    except Exception as error:  # whatever it is, who has ordered it must hear of it
        log.exception("%s of a checkout failed", inquiry.what)
        return phrase("It failed: %(error)s; see the log of its process.", error=type(error).__name__)
    return ""


def _told(name: str, answer: Answer) -> tuple[str, str, float]:
    return name, answer.to_json(), _KEPT
