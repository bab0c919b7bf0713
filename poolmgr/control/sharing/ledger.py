"""The ledger of all leases, in the control database: every claim is one transaction under one lock."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from django.db import DatabaseError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import BigIntegerField, CharField, F, Func, QuerySet, Value
from django.db.models.expressions import Combinable
from django.db.models.functions import Now

from poolmgr.control.access import control_alias, standstill
from poolmgr.control.sharing.book import Book, Member, leases, numbers
from poolmgr.control.sharing.line import LineFull, has_place
from poolmgr.control.sharing.share import Claim, Lease
from poolmgr.models import Ledger as LedgerRow

T = TypeVar("T")
_THE_ROW = 1
_SERIALIZATION_FAILURE = "40001"
#: Seconds for which a process that stops in the middle of a claim keeps the others from theirs; they wait for longer.
_STANDSTILL = 1.0
#: SQL: what a process is told is on the server's disk first, though the site's commits wait for nothing. After a crash its
#: room would be somebody else's.
_OFF = "current_setting('synchronous_commit') = 'off'"
_KEPT = f"CASE WHEN {_OFF} THEN set_config('synchronous_commit', 'local', true) ELSE '' END"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a process may hold by target, until a lease's length after it has sent its claim.

    ``serial`` goes with its next claim. ``called`` are the processes that should claim soon: to make room, or to take it.
    ``fleet`` is the number of processes with leases.
    """

    serial: int
    limits: Mapping[str, int]
    called: frozenset[str]
    fleet: int


class _Turn(Func):
    """One more, and the transaction has the settings that its lock wants."""

    template = "turn + CASE WHEN %(settings)s IS NULL THEN 0 ELSE 1 END"
    arity = 0
    output_field = BigIntegerField()


class _Timeline(Func):
    """Of the server: another one after a standby was promoted, which may lack what was written last."""

    template = "left(pg_walfile_name(pg_current_wal_lsn()), 8)"
    arity = 0
    output_field = CharField()


class RowLedger:
    """``length`` is that of a lease. ``clock`` tells the time; by default it is the control database's.

    Every method may raise ``django.db.Error``, after which it did nothing or everything, and those that need the lock
    ``LineFull``.
    """

    def __init__(self, length: timedelta, clock: Any = None) -> None:
        self._length = length
        self._clock = clock
        self._tells_timeline: bool | None = None
        self._sets_level = False

    def claim(
        self, uid: str, serial: int, claims: Mapping[str, Claim], adopting: Collection[str] = frozenset()
    ) -> Answer:
        """Tell what ``uid`` holds and wants by target, and learn what it may hold.

        ``serial`` is that of the last answer while the lease lasts, and else 0. ``adopting`` are the targets whose pools
        ran without a limit until now: others may do so still, so that nobody is given more for the length of a lease.
        """
        return self._again_where_refused(lambda: self._claim(uid, serial, claims, adopting))

    def _claim(self, uid: str, serial: int, claims: Mapping[str, Claim], adopting: Collection[str]) -> Answer:
        with self._locked() as book:
            mine = book.leases.pop(uid, None)
            book.check(mine, serial)
            for target in adopting:
                book.adopt(target)
            limits: dict[str, int] = {}
            given: dict[str, Lease] = {}
            called: set[str] = set()
            for target, claim in claims.items():
                shared = book.share(target, uid, claim)
                given[target], limits[target] = shared.lease, shared.lease.limit
                # Whom nothing new concerns was called by whoever made it so. Else those who are called would call each other.
                if shared.lease.want > shared.lease.limit or not _is_as_before(mine, target, shared.lease):
                    called.update(shared.above, shared.below)
            serial = max(serial, mine.serial if mine else 0) + 1
            book.write(uid, serial, given)
        return Answer(serial, limits, frozenset(called), len(book.leases))

    def renew(self, uid: str, serial: int) -> bool:
        """Let a lease last longer; False where the ledger no longer has it as the process knows it."""
        return self._again_where_refused(lambda: self._renew(uid, serial))

    def _renew(self, uid: str, serial: int) -> bool:
        turn = _next_turn()
        with self._transaction():
            if not _lock(turn):
                return False
            now = self._clock() if self._clock else Now()
            mine = leases().filter(uid=uid, serial=serial, until__gt=now)
            return bool(mine.update(until=now + self._length))

    def lacking(self) -> dict[str, int]:
        """By target, the room that those above their share must still make. A read without the lock."""
        return numbers(_ledgers().filter(pk=_THE_ROW).values_list("lacking", flat=True).first())

    @contextmanager
    def _locked(self) -> Iterator[Book]:
        timeline, turn = self._timeline(), _next_turn()
        try:
            with self._transaction():
                there = _lock(turn)
                if not there:
                    _ledgers().bulk_create([LedgerRow(pk=_THE_ROW)], ignore_conflicts=True)
                    _lock(turn)
                row = _ledgers().annotate(now=Now(), present=timeline).get(pk=_THE_ROW)
                now = self._clock() if self._clock else row.now
                book = Book(row, now, self._length)
                if not there or (row.present and row.timeline and row.present != row.timeline):
                    book.freeze()
                row.timeline = row.present or row.timeline
                yield book
        except DatabaseError:
            self._tells_timeline = None
            raise

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        alias = control_alias()
        with transaction.atomic(using=alias, durable=True):
            if self._sets_level:
                with connections[alias].cursor() as cursor:
                    cursor.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
            yield

    def _again_where_refused(self, act: Callable[[], T]) -> T:
        """The site may have a stricter isolation, by which who has waited for a row that was changed is refused.

        Only a refusal tells, and then it is known: to ask, or to set it always, would take a round trip each time.
        """
        sets_level = self._sets_level
        try:
            return act()
        except DatabaseError as error:
            if sets_level or getattr(error.__cause__, "sqlstate", None) != _SERIALIZATION_FAILURE:
                raise
            self._sets_level = True
            return act()

    def _timeline(self) -> Func | Value:
        """An expression for the server's timeline, empty where it doesn't tell."""
        connection = connections[control_alias()]
        if self._tells_timeline is None:
            self._tells_timeline = connection.vendor == "postgresql" and _tells_timeline(connection)
        return _Timeline() if self._tells_timeline else Value("")


def _is_as_before(mine: Member | None, target: str, lease: Lease) -> bool:
    return mine is not None and tuple(mine.leases.get(target, ())) == lease


def _tells_timeline(connection: BaseDatabaseWrapper) -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {_Timeline.template}")
        return True
    except DatabaseError:
        if connection.connection is None or connection.connection.closed:
            raise
        return False  # services that have no standbys to promote don't tell


def open_ledger() -> None:
    """Begin an empty ledger, where the tables have just been made and no process can hold anything yet."""
    _ledgers().bulk_create([LedgerRow(pk=_THE_ROW)], ignore_conflicts=True)


def _lock(turn: Combinable) -> bool:
    """Wait for the row's lock; False where there is no row. Raises ``LineFull``."""
    # To write is to lock, whatever the database.
    if _ledgers().filter(has_place(), pk=_THE_ROW).update(turn=turn):
        return True
    if _ledgers().filter(pk=_THE_ROW).exists():
        raise LineFull(leases().count())
    return False


def _next_turn() -> Combinable:
    """To write into the row, which is to lock it for a transaction."""
    # In the same statement, as a round is to cost little.
    return _Turn(settings=f"{bound} || {_KEPT}") if (bound := standstill(_STANDSTILL)) else F("turn") + 1


def _ledgers() -> QuerySet[LedgerRow]:
    return LedgerRow.objects.using(control_alias())
