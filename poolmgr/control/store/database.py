"""The fleet store in database rows: slower heartbeats, no push, nothing else to run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Event

from django.db.models import QuerySet
from django.db.models.functions import Now
from django.db.utils import Error as DatabaseError

from poolmgr.conf import conf
from poolmgr.control.access import control_alias, sentence_of
from poolmgr.control.store.base import Leases, StoreDown, in_order
from poolmgr.metrics.snapshot import ProcessBeat
from poolmgr.models import Process


class DatabaseStore:
    """One row a process. The caller decides on which lane and for how long a connection is held."""

    name = "database"
    pushes = False
    leases: Leases | None = None

    def __init__(self) -> None:
        self._woken = Event()

    def beat(self, beat: ProcessBeat) -> None:
        # The server's clock throughout: hosts whose clocks disagree must not bury each other.
        row = Process(uid=beat.uid, at=Now(), beat=beat.to_dict())
        with _or_down():
            _rows().bulk_create([row], update_conflicts=True, unique_fields=["uid"], update_fields=["at", "beat"])

    def forget(self, uid: str) -> None:
        with _or_down():
            _rows().filter(uid=uid).delete()

    def processes(self) -> tuple[ProcessBeat, ...]:
        with _or_down():
            live = _rows().filter(at__gt=Now() - _ttl()).values_list("beat", flat=True)
            return in_order([ProcessBeat.from_dict(beat) for beat in live])

    def sweep(self) -> tuple[str, ...]:
        with _or_down():
            dead = list(_rows().filter(at__lte=Now() - _ttl()).values_list("uid", flat=True))
            # Of two sweepers at once only one deletes the row, and says so.
            return tuple(uid for uid in dead if _rows().filter(uid=uid, at__lte=Now() - _ttl()).delete()[0])

    def notify(self) -> None:
        """Others find out at their next poll; this process at once."""
        self._woken.set()

    def wait(self, seconds: float) -> bool:
        woken = self._woken.wait(seconds)
        self._woken.clear()
        return woken

    def wake(self) -> None:
        self._woken.set()

    def close(self) -> None:
        """Nothing is held between calls."""


def _rows() -> QuerySet[Process]:
    return Process.objects.using(control_alias())


def _ttl() -> timedelta:
    return timedelta(seconds=conf().PROCESS_TTL)


@contextmanager
def _or_down() -> Iterator[None]:
    try:
        yield
    except DatabaseError as error:
        raise StoreDown(sentence_of(error)) from error
