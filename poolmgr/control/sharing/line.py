"""The line at the ledger's lock: a few stand in it, each with a connection; the others wait elsewhere, without one."""

from __future__ import annotations

from random import uniform

from django.db import connections
from django.db.models import BooleanField, Func, Q

from poolmgr.control.access import control_alias

#: Who is at the ledger, and who is ready to be there at once. Were they fewer, the lock would be free while others connect,
#: which on a machine that is short of CPU takes longer than a claim.
PLACES = 8
#: Seconds until who found no place comes again: at first, at most, and for each process of a fleet for which that is more.
_SOON, _LATE, _EACH = 0.2, 1.0, 0.01


class LineFull(Exception):
    """Nobody has been asked or told anything. ``fleet`` is the number of processes with leases."""

    def __init__(self, fleet: int) -> None:
        super().__init__("there is no place in the line at the ledger")
        self.fleet = fleet


class _Place(Func):
    """Whether there is a place for this transaction, which has it until its end."""

    template = "CASE %(places)s ELSE FALSE END"
    arity = 0
    output_field = BooleanField()


#: Keys of advisory locks, which are the present database's only; any numbers will do that a site is not likely to use.
_FIRST_KEY = int.from_bytes(b"poolmgr\0")
_PLACE = _Place(
    places=" ".join(f"WHEN pg_try_advisory_xact_lock({_FIRST_KEY + each}) THEN TRUE" for each in range(PLACES))
)


def has_place() -> Func | Q:
    """A condition of the statement that locks. Other databases than PostgreSQL have no such places; there all may stand."""
    return _PLACE if connections[control_alias()].vendor == "postgresql" else Q()


class Pauses:
    """Of one process that found the line full, each about twice as long as the last. At random, since others wait as well."""

    def __init__(self) -> None:
        self._last = 0.0

    def next(self, fleet: int) -> float:
        """Seconds, where so many are in the fleet."""
        self._last = min(2 * self._last or _SOON, max(_LATE, _EACH * fleet))
        return uniform(0.5, 1.5) * self._last

    def end(self) -> None:
        self._last = 0.0
