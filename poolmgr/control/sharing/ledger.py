"""The ledger of all leases, in rows of the control database: every claim is one transaction under one lock."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from typing import Any, NamedTuple

from django.db import DatabaseError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import BigIntegerField, BooleanField, CharField, ExpressionWrapper, F, Func, Q, QuerySet, Value
from django.db.models.expressions import Combinable
from django.db.models.functions import Now

from poolmgr.control.access import control_alias, standstill
from poolmgr.control.sharing.share import Claim, Lease, Shared, share_out
from poolmgr.models import Lease as LeaseRow
from poolmgr.models import Ledger as LedgerRow

_THE_ROW = 1
#: Seconds for which a process that stops in the middle of a claim keeps the others from theirs; they wait for longer.
_STANDSTILL = 1.0
_NUMBERS = len(Lease._fields)


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
    """One more, and the transaction ends when it stands still."""

    template = "turn + CASE WHEN %(bound)s IS NULL THEN 0 ELSE 1 END"
    arity = 0
    output_field = BigIntegerField()


class _Timeline(Func):
    """Of the server: another one after a standby was promoted, which may lack what was written last."""

    template = "left(pg_walfile_name(pg_current_wal_lsn()), 8)"
    arity = 0
    output_field = CharField()


class RowLedger:
    """``length`` is that of a lease. ``clock`` tells the time; by default it is the control database's.

    Every method may raise ``django.db.Error``, after which it did nothing or everything.
    """

    def __init__(self, length: timedelta, clock: Any = None) -> None:
        self._length = length
        self._clock = clock
        self._tells_timeline: bool | None = None

    def claim(
        self, uid: str, serial: int, claims: Mapping[str, Claim], adopting: Collection[str] = frozenset()
    ) -> Answer:
        """Tell what ``uid`` holds and wants by target, and learn what it may hold.

        ``serial`` is that of the last answer while the lease lasts, and else 0. ``adopting`` are the targets whose pools
        ran without a limit until now: others may do so still, so that nobody is given more for the length of a lease.
        """
        with self._locked() as book:
            mine = book.leases.pop(uid, None)
            book.check(mine, serial)
            for target in adopting:
                book.adopt(target)
            limits: dict[str, int] = {}
            leases: dict[str, Lease] = {}
            called: set[str] = set()
            for target, claim in claims.items():
                shared = book.share(target, uid, claim)
                leases[target], limits[target] = shared.lease, shared.lease.limit
                called.update(shared.above, shared.below)
            serial = max(serial, mine.serial if mine else 0) + 1
            book.write(uid, serial, leases)
        return Answer(serial, limits, frozenset(called), len(book.leases))

    def renew(self, uid: str, serial: int) -> bool:
        """Let a lease last longer; False where the ledger no longer has it as the process knows it."""
        turn = _next_turn()
        with transaction.atomic(using=control_alias(), durable=True):
            if not _ledgers().filter(pk=_THE_ROW).update(turn=turn):
                return False
            now = self._clock() if self._clock else Now()
            mine = _leases().filter(uid=uid, serial=serial, until__gt=now)
            return bool(mine.update(until=now + self._length))

    def lacking(self) -> dict[str, int]:
        """By target, the room that those above their share must still make. A read without the lock."""
        found = _ledgers().filter(pk=_THE_ROW).values_list("lacking", flat=True).first()
        return {target: number for target, number in (found or {}).items() if isinstance(number, int) and number > 0}

    @contextmanager
    def _locked(self) -> Iterator[_Book]:
        timeline, turn = self._timeline(), _next_turn()
        try:
            with transaction.atomic(using=control_alias(), durable=True):
                # To write is to lock, whatever the database.
                there = _ledgers().filter(pk=_THE_ROW).update(turn=turn)
                if not there:
                    _ledgers().bulk_create([LedgerRow(pk=_THE_ROW)], ignore_conflicts=True)
                    _ledgers().filter(pk=_THE_ROW).update(turn=turn)
                row = _ledgers().annotate(now=Now(), present=timeline).get(pk=_THE_ROW)
                now = self._clock() if self._clock else row.now
                book = _Book(row, now, self._length)
                if not there or (row.present and row.timeline and row.present != row.timeline):
                    book.freeze()
                row.timeline = row.present or row.timeline
                yield book
        except DatabaseError:
            self._tells_timeline = None
            raise

    def _timeline(self) -> Func | Value:
        """An expression for the server's timeline, empty where it doesn't tell."""
        connection = connections[control_alias()]
        if self._tells_timeline is None:
            self._tells_timeline = connection.vendor == "postgresql" and _tells_timeline(connection)
        return _Timeline() if self._tells_timeline else Value("")


def _tells_timeline(connection: BaseDatabaseWrapper) -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {_Timeline.template}")
        return True
    except DatabaseError:
        if connection.connection is None or connection.connection.closed:
            raise
        return False  # services that have no standbys to promote don't tell


class _Member(NamedTuple):
    """``leases`` are the numbers of each, by target."""

    serial: int
    leases: Mapping[str, Sequence[int]]


class _Book:
    """The ledger as it is read, changed and written within one transaction."""

    def __init__(self, row: LedgerRow, now: datetime, length: timedelta) -> None:
        self._row, self._now, self._until = row, now, now + length
        over = ExpressionWrapper(Q(until__lte=now), BooleanField())
        forged = ExpressionWrapper(Q(until__gt=self._until), BooleanField())
        rows = _leases().annotate(over=over, forged=forged)
        found = list(rows.values_list("uid", "serial", "over", "forged", "leases"))
        if any(forged for _, _, _, forged, _ in found):
            # Nobody was given a longer one: it would hold its room for ever.
            _leases().filter(until__gt=self._until).update(until=self._until)
        members = _members([(serial, text) for _, serial, _, _, text in found])
        known = [(uid, over, member) for (uid, _, over, _, _), member in zip(found, members, strict=True) if member]
        self.leases = {uid: member for uid, over, member in known if not over}
        self._gone = [uid for uid, *_ in found if uid not in self.leases]
        if len(known) < len(found) or _total([member for _, _, member in known]) != row.total:
            self.freeze()

    def freeze(self) -> None:
        """The ledger has lost its memory: nobody is given more than they hold until all who live have claimed."""
        self._row.frozen_until = self._until

    def check(self, mine: _Member | None, serial: int) -> None:
        """A process knows of a claim that the ledger doesn't know: it has lost more than that."""
        if serial and (mine is None or mine.serial < serial):
            self.freeze()

    def adopt(self, target: str) -> None:
        self._row.adopting[target] = self._until.isoformat()

    def share(self, target: str, uid: str, claim: Claim) -> Shared:
        others = {
            name: Lease._make(member.leases[target]) for name, member in self.leases.items() if target in member.leases
        }
        shared = share_out(others, uid, claim, may_grow=self._may_grow(target))
        self._row.lacking = {**self._row.lacking, target: shared.lacking}
        return shared

    def _may_grow(self, target: str) -> bool:
        frozen = self._row.frozen_until is not None and self._now < self._row.frozen_until
        adopting = self._row.adopting.get(target)
        return not frozen and (adopting is None or self._now >= datetime.fromisoformat(adopting))

    def write(self, uid: str, serial: int, leases: Mapping[str, Lease]) -> None:
        if leases:
            self._gone = [name for name in self._gone if name != uid]
            self.leases[uid] = _Member(serial, leases)
            row = LeaseRow(uid=uid, serial=serial, until=self._until, leases=json.dumps(leases))
            _leases().bulk_create(
                [row], update_conflicts=True, unique_fields=["uid"], update_fields=["serial", "until", "leases"]
            )
        else:
            self._gone.append(uid)
        if self._gone:
            _leases().filter(uid__in=self._gone).delete()
        targets = {target for member in self.leases.values() for target in member.leases}
        ledger = self._row
        ledger.total = _total(self.leases.values())
        ledger.lacking = {target: number for target, number in ledger.lacking.items() if number and target in targets}
        ledger.adopting = {
            target: until for target, until in ledger.adopting.items() if self._now < datetime.fromisoformat(until)
        }
        ledger.save(using=control_alias(), update_fields=["total", "frozen_until", "adopting", "lacking", "timeline"])


def open_ledger() -> None:
    """Begin an empty ledger, where the tables have just been made and no process can hold anything yet."""
    _ledgers().bulk_create([LedgerRow(pk=_THE_ROW)], ignore_conflicts=True)


def _total(members: Iterable[_Member]) -> int:
    return sum([lease[0] for member in members for lease in member.leases.values()])


def _members(rows: Sequence[tuple[int, str]]) -> list[_Member | None]:
    """The leases of each row, None where they can't be read. All at once where they can: a fleet may be large."""
    try:
        found = json.loads(f"[{','.join([text for _, text in rows])}]")
        if len(found) == len(rows) and _are_leases(found):
            return [_Member(serial, given) for (serial, _), given in zip(rows, found, strict=True)]
    except ValueError:
        pass
    return [_member(serial, text) for serial, text in rows]


def _member(serial: int, text: str) -> _Member | None:
    try:
        given = json.loads(text)
    except ValueError:
        return None
    return _Member(serial, given) if _are_leases([given]) else None


def _are_leases(found: Sequence[Any]) -> bool:
    """Whether each maps targets to the numbers of a lease, none of which is negative."""
    try:
        leases = [lease for given in found for lease in given.values()]
        numbers = list(chain.from_iterable(leases))
        return {*map(type, numbers)} <= {int} and min(numbers, default=0) >= 0 and {*map(len, leases)} <= {_NUMBERS}
    except (TypeError, AttributeError):
        return False


def _next_turn() -> Combinable:
    """To write into the row, which is to lock it for a transaction."""
    # In the same statement, as a round is to cost little.
    return _Turn(bound=bound) if (bound := standstill(_STANDSTILL)) else F("turn") + 1


def _ledgers() -> QuerySet[LedgerRow]:
    return LedgerRow.objects.using(control_alias())


def _leases() -> QuerySet[LeaseRow]:
    return LeaseRow.objects.using(control_alias())
