"""What a fleet store can do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from poolmgr.control.store.reading import Reading
from poolmgr.metrics.snapshot import ProcessBeat


@dataclass(frozen=True, slots=True)
class Claim:
    """What a process asks of a target's budget.

    ``force`` is the limit that its pool has now, ``held`` what it really holds (which is more while it shrinks),
    ``want`` what it would like, ``budget`` the most that all processes may hold together.
    """

    target: str
    uid: str
    force: int
    held: int
    want: int
    budget: int


class Leases(Protocol):
    """Shares of budgets, given out one atomic step at a time. Every method may raise ``StoreDown``."""

    def renew(self, claim: Claim) -> int:
        """The limit that the process may have from now on, never more than ``want``."""

    def give_back(self, uid: str, targets: tuple[str, ...]) -> None:
        """End a process's leases."""


class FleetStore(Protocol):
    """Heartbeats, and a way to wake the others. Every method but ``wait`` and ``wake`` may raise ``StoreDown``."""

    name: str  # "redis" or "database"
    pushes: bool  # whether notify() wakes other processes
    leases: Leases | None  # None: budgets are shared out evenly

    def beat(self, beat: ProcessBeat) -> None:
        """Keep ``beat`` as its process's last, for ``PROCESS_TTL`` seconds."""

    def forget(self, uid: str) -> None:
        """Drop a process that ends in good order."""

    def read(self) -> Reading:
        """The last beat of every live process, as far as it can be read."""

    def processes(self) -> tuple[ProcessBeat, ...]:
        """The beats of ``read()``, without those that can't be read."""

    def sweep(self) -> tuple[str, ...]:
        """Clear away processes that died without a word; each uid is returned to one caller only."""

    def note(self, name: str, text: str, seconds: float) -> None:
        """Keep a short text for ``seconds``, where the store outlives the control database."""

    def notes(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """The texts kept under ``names``, "" for each that there is none of."""

    def notify(self) -> None:
        """Tell every process that desired settings or commands changed."""

    def wait(self, seconds: float) -> bool:
        """Sleep up to ``seconds``; True as soon as somebody called ``notify``, or might have."""

    def wake(self) -> None:
        """End this process's own ``wait``."""

    def close(self) -> None:
        """Drop the connection to the store."""


class StoreDown(Exception):
    """The store can't be reached; the message is a sentence that holds no secret."""
