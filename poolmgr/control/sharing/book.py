"""The ledger within one transaction: its rows as they are read, changed and written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import chain
from typing import Any, NamedTuple

from django.db.models import BooleanField, ExpressionWrapper, F, Max, Q, QuerySet

from poolmgr.control.access import control_alias
from poolmgr.control.sharing.share import Claim, Lease, Shared, share_out
from poolmgr.models import Lease as LeaseRow
from poolmgr.models import Ledger as LedgerRow

#: What POOLMGR's PROCESS_TTL may be at most.
_LONGEST = timedelta(seconds=600)
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
        self._row, self._now, self._length, self._until = row, now, length, now + length
        over = ExpressionWrapper(Q(until__lte=now), BooleanField())
        longer = ExpressionWrapper(Q(until__gt=self._until), BooleanField())
        rows = leases().annotate(over=over, longer=longer)
        found = list(rows.values_list("uid", "serial", "over", "longer", "leases"))
        # By when all who live have claimed.
        self._all_until = self._look_at_longer() if any(longer for _, _, _, longer, _ in found) else self._until
        members = _members([(serial, text) for _, serial, _, _, text in found])
        known = [(uid, over, member) for (uid, _, over, _, _), member in zip(found, members, strict=True) if member]
        self.leases = {uid: member for uid, over, member in known if not over}
        self._gone = [uid for uid, *_ in found if uid not in self.leases]
        self._lacking = numbers(row.lacking)
        adopting = _times(row.adopting, now)
        # The clock may have been set back since these were written.
        self._adopting = {target: min(at, self._all_until) for target, at in (adopting or {}).items()}
        self._frozen_until = min(row.frozen_until or now, self._all_until)
        if adopting is None or len(known) < len(found) or _total([each for *_, each in known]) != row.total:
            self.freeze()

    def _look_at_longer(self) -> datetime:
        """Until when the last lease lasts, where some last for longer than this process's would.

        Another PROCESS_TTL may be in force elsewhere, as during a deploy. Nobody was given one for longer than that: it would
        hold its room for ever.
        """
        leases().filter(Q(length__gt=_LONGEST) | Q(length__lte=timedelta())).update(length=self._length)
        leases().filter(until__gt=self._now + F("length")).update(until=self._now + F("length"))
        last: datetime = leases().aggregate(last=Max("until"))["last"]
        return max(self._until, last)

    def freeze(self) -> None:
        """The ledger has lost its memory: nobody is given more than they hold until all who live have claimed."""
        self._frozen_until = self._all_until

    def check(self, mine: Member | None, serial: int) -> None:
        """A process knows of a claim that the ledger doesn't know: it has lost more than that."""
        if serial and (mine is None or mine.serial < serial):
            self.freeze()

    def adopt(self, target: str) -> None:
        self._adopting[target] = self._all_until

    def share(self, target: str, uid: str, claim: Claim) -> Shared:
        others = {
            name: Lease._make(member.leases[target]) for name, member in self.leases.items() if target in member.leases
        }
        shared = share_out(others, uid, claim, may_grow=self._may_grow(target))
        self._lacking[target] = shared.lacking
        return shared

    def _may_grow(self, target: str) -> bool:
        return self._now >= max(self._frozen_until, self._adopting.get(target, self._now))

    def write(self, uid: str, serial: int, given: Mapping[str, Lease]) -> None:
        if given:
            self._gone = [name for name in self._gone if name != uid]
            self.leases[uid] = Member(serial, given)
            values = {"serial": serial, "until": self._until, "length": self._length, "leases": json.dumps(given)}
            leases().bulk_create(
                [LeaseRow(uid=uid, **values)], update_conflicts=True, unique_fields=["uid"], update_fields=[*values]
            )
        else:
            self._gone.append(uid)
        if self._gone:
            leases().filter(uid__in=self._gone).delete()
        targets = {target for member in self.leases.values() for target in member.leases}
        ledger = self._row
        ledger.total = _total(self.leases.values())
        ledger.frozen_until = self._frozen_until
        ledger.lacking = {target: number for target, number in self._lacking.items() if number and target in targets}
        ledger.adopting = {target: at.isoformat() for target, at in self._adopting.items() if self._now < at}
        ledger.save(using=control_alias(), update_fields=["total", "frozen_until", "adopting", "lacking", "timeline"])


def numbers(lacking: object) -> dict[str, int]:
    """The room that is lacking by target, as far as that can be read: it only has others called."""
    if not isinstance(lacking, dict):
        return {}
    return {target: number for target, number in lacking.items() if isinstance(number, int) and number > 0}


def _times(adopting: object, now: datetime) -> dict[str, datetime] | None:
    """Times by target, None where they can't be read."""
    try:
        found = {target: datetime.fromisoformat(text) for target, text in adopting.items()}  # type: ignore[attr-defined]
    except (AttributeError, TypeError, ValueError):
        return None
    return found if all((at.tzinfo is None) == (now.tzinfo is None) for at in found.values()) else None


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
