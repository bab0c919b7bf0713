"""Whether a database answers: found out by one question a second for the whole process, and never waited for longer."""

from __future__ import annotations

import os
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Lock, Thread
from time import monotonic, time

from django.db import connections
from django.db.utils import Error as DatabaseError
from django.db.utils import InterfaceError, OperationalError

from poolmgr.control.access import control_alias, sentence_of
from poolmgr.control.deadline import deadline
from poolmgr.metrics.phrases import phrase
from poolmgr.pools.lane import console_lane

#: Seconds for which an answer serves whoever asks next.
_FRESH = 1.0
#: Seconds after which a server that says nothing counts as one that does not answer.
PATIENCE = 2.0


@dataclass(frozen=True, slots=True)
class Outage:
    """Why a database can't be used, a sentence without secrets, and since when, in seconds since the epoch."""

    sentence: str
    since: float


class _Reach:
    """What is known of one database.

    The law of the lock: everything below is read and written with ``_lock`` held, and the question is asked outside it.
    """

    def __init__(self, alias: str) -> None:
        self._alias = alias
        self._lock = Lock()
        self._outage: Outage | None = None
        self._fresh_until = 0.0
        self._asking: Future[None] | None = None
        self._asked_at = 0.0

    def outage(self) -> Outage | None:
        with self._lock:
            now = monotonic()
            if now < self._fresh_until:
                return self._outage
            asking = self._asking
            if asking is None:
                asking = self._asking = Future()
                self._asked_at = now
                Thread(target=self._ask, args=(asking,), name="poolmgr-reach", daemon=True).start()
            patience = self._asked_at + PATIENCE - now
        try:
            asking.result(max(0.0, patience))
        except TimeoutError:
            self.found(phrase("%(database)s does not answer.", database=self.called))
        return self.known()

    @property
    def called(self) -> str:
        if self._alias == control_alias():
            return phrase("The control database")
        return phrase("The database '%(alias)s'", alias=self._alias)

    def found(self, sentence: str) -> Outage | None:
        """Note what somebody has just found out: a sentence that says what is wrong, or "" when it answers."""
        with self._lock:
            if not sentence:
                self._outage = None
            else:
                self._outage = Outage(sentence, self._outage.since if self._outage else time())
            self._fresh_until = monotonic() + _FRESH
            return self._outage

    def known(self) -> Outage | None:
        with self._lock:
            return self._outage

    def _ask(self, asking: Future[None]) -> None:
        try:
            sentence = self._sentence()
        finally:
            with self._lock:
                self._asking = None
        self.found(sentence)
        asking.set_result(None)

    def _sentence(self) -> str:
        """On a connection of this thread's own, whose ``connect_timeout`` may be longer than anybody's patience."""
        with console_lane():
            try:
                with deadline(self._alias, 2 * PATIENCE), connections[self._alias].cursor() as cursor:
                    cursor.execute("SELECT 1")
            except DatabaseError as error:
                return sentence_of(error, self.called)
            except Exception:  # no news of the server: whoever uses the database for something will say what is wrong
                return ""
            finally:
                connections[self._alias].close()
        return ""


_reaches: dict[tuple[str, ...], _Reach] = {}
_lock = Lock()


def outage(alias: str) -> Outage | None:
    """Why the database of ``alias`` can't be used now, or None; the answer takes ``PATIENCE`` seconds at most."""
    return _reach(alias).outage()


def known_outage(alias: str) -> Outage | None:
    """What was found out last, by whomever; asks nobody."""
    return _reach(alias).known()


def lost(alias: str, error: BaseException) -> Outage | None:
    """Note that ``error`` came out of a use of the database; None when it says nothing of whether the server answers."""
    if not isinstance(error, OperationalError | InterfaceError):
        return None
    reach = _reach(alias)
    return reach.found(sentence_of(error, reach.called))


def answered(alias: str) -> None:
    """Note that the database has just been used."""
    _reach(alias).found("")


def _reach(alias: str) -> _Reach:
    got = connections.settings[alias]
    # By address too: an alias may lead elsewhere than before, as in tests it does.
    key = (alias, str(got["HOST"]), str(got["PORT"]), str(got["NAME"]))
    with _lock:
        return _reaches.get(key) or _reaches.setdefault(key, _Reach(alias))


def _after_fork() -> None:
    global _lock, _reaches
    # Threads that ask stayed behind, and a lock may be held for ever.
    _lock, _reaches = Lock(), {}


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
