"""The ledger within one transaction: its rows as they are read, changed and written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import chain
from typing import Any, NamedTuple

from django.db.models import BooleanField, ExpressionWrapper, Q, QuerySet

from poolmgr.control.access import control_alias
from poolmgr.control.sharing.share import Claim, Lease, Shared, share_out
from poolmgr.models import Lease as LeaseRow
from poolmgr.models import Ledger as LedgerRow

_NUMBERS = len(Lease._fields)


def leases() -> QuerySet[LeaseRow]:
    return LeaseRow.objects.using(control_alias())


class Member(NamedTuple):
    """``leases`` are the numbers of each, by target."""

    serial: int
    leases: Mapping[str, Sequence[int]]


class Book:
    """``leases`` are those that are in force, by the process."""

    def __init__(self, row: LedgerRow, now: datetime, length: timedelta) -> None:
        self._row, self._now, self._until = row, now, now + length
        over = ExpressionWrapper(Q(until__lte=now), BooleanField())
        forged = ExpressionWrapper(Q(until__gt=self._until), BooleanField())
        rows = leases().annotate(over=over, forged=forged)
        found = list(rows.values_list("uid", "serial", "over", "forged", "leases"))
        if any(forged for _, _, _, forged, _ in found):
            # Nobody was given a longer one: it would hold its room for ever.
            leases().filter(until__gt=self._until).update(until=self._until)
        members = _members([(serial, text) for _, serial, _, _, text in found])
        known = [(uid, over, member) for (uid, _, over, _, _), member in zip(found, members, strict=True) if member]
        self.leases = {uid: member for uid, over, member in known if not over}
        self._gone = [uid for uid, *_ in found if uid not in self.leases]
        if len(known) < len(found) or _total([member for _, _, member in known]) != row.total:
            self.freeze()

    def freeze(self) -> None:
        """The ledger has lost its memory: nobody is given more than they hold until all who live have claimed."""
        self._row.frozen_until = self._until

    def check(self, mine: Member | None, serial: int) -> None:
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

    def write(self, uid: str, serial: int, given: Mapping[str, Lease]) -> None:
        if given:
            self._gone = [name for name in self._gone if name != uid]
            self.leases[uid] = Member(serial, given)
            row = LeaseRow(uid=uid, serial=serial, until=self._until, leases=json.dumps(given))
            leases().bulk_create(
                [row], update_conflicts=True, unique_fields=["uid"], update_fields=["serial", "until", "leases"]
            )
        else:
            self._gone.append(uid)
        if self._gone:
            leases().filter(uid__in=self._gone).delete()
        targets = {target for member in self.leases.values() for target in member.leases}
        ledger = self._row
        ledger.total = _total(self.leases.values())
        ledger.lacking = {target: number for target, number in ledger.lacking.items() if number and target in targets}
        ledger.adopting = {
            target: until for target, until in ledger.adopting.items() if self._now < datetime.fromisoformat(until)
        }
        ledger.save(using=control_alias(), update_fields=["total", "frozen_until", "adopting", "lacking", "timeline"])


def _total(members: Iterable[Member]) -> int:
    return sum([lease[0] for member in members for lease in member.leases.values()])


def _members(rows: Sequence[tuple[int, str]]) -> list[Member | None]:
    """The leases of each row, None where they can't be read. All at once where they can: a fleet may be large."""
    try:
        found = json.loads(f"[{','.join([text for _, text in rows])}]")
        if len(found) == len(rows) and _are_leases(found):
            return [Member(serial, given) for (serial, _), given in zip(rows, found, strict=True)]
    except ValueError:
        pass
    return [_member(serial, text) for serial, text in rows]


def _member(serial: int, text: str) -> Member | None:
    try:
        given = json.loads(text)
    except ValueError:
        return None
    return Member(serial, given) if _are_leases([given]) else None


def _are_leases(found: Sequence[Any]) -> bool:
    """Whether each maps targets to the numbers of a lease, none of which is negative."""
    try:
        leases = [lease for given in found for lease in given.values()]
        numbers = list(chain.from_iterable(leases))
        return {*map(type, numbers)} <= {int} and min(numbers, default=0) >= 0 and {*map(len, leases)} <= {_NUMBERS}
    except (TypeError, AttributeError):
        return False
