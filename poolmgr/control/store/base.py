"""What a fleet store can do."""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum
from typing import Protocol

from poolmgr.control.store.reading import Details, Reading
from poolmgr.metrics.snapshot import ProcessBeat
from poolmgr.metrics.totals import Gain, Total


class Heard(Enum):
    """What ended a wait: nothing but the time, news of settings or commands, a call to go to the ledger of budgets, the turn
    there of who found the line full, or a question to this process."""

    NOTHING = 0
    NEWS = 1
    CALL = 2
    TURN = 3
    QUESTION = 4

    def __bool__(self) -> bool:
        return self is not Heard.NOTHING


class FleetStore(Protocol):
    """Heartbeats, and a way to wake the others. Every method but ``wait`` and ``wake`` may raise ``StoreDown``."""

    name: str  # "redis" or "database"
    pushes: bool  # whether notify() and call() wake other processes
    fleet: int  # how many processes there were at the last beat of this one, where they are woken together; else 0

    def beat(self, beat: ProcessBeat) -> None:
        """Keep ``beat`` as its process's last, for ``PROCESS_TTL`` seconds."""

    def count(self, uid: str, gain: Gain) -> None:
        """Add to the totals what a process gained; once, however often it is told the same."""

    def totals(self) -> tuple[Total, ...]:
        """What all processes have counted, those that have ended too, by target and role."""

    def forget(self, uid: str) -> None:
        """Drop a process that ends in good order."""

    def read(self, details: bool = True) -> Reading:
        """The last beat of every live process, as far as it can be read; without the details of its pools
        (``metrics/details.py``) for whoever can do without: they are most of it."""

    def details(self, uids: Collection[str]) -> Details:
        """What ``read`` leaves out without ``details``, of these processes."""

    def processes(self) -> tuple[ProcessBeat, ...]:
        """The beats of ``read()``, without those that can't be read."""

    def sweep(self) -> tuple[str, ...]:
        """Clear away processes that died without a word; each uid is returned to one caller only."""

    def lead(self, target: str, uid: str, seconds: float) -> bool:
        """Take or keep the lead of a target for ``seconds``, unless another process has it; whether ``uid`` has it now."""

    def give_up_lead(self, target: str, uid: str) -> None:
        """Leave it to whoever asks next; nothing where another process has it."""

    def note(self, name: str, text: str, seconds: float) -> None:
        """Keep a short text for ``seconds``, where the store outlives the control database."""

    def notes(self, names: tuple[str, ...], most: int = 1000) -> tuple[str, ...]:
        """The texts kept under ``names``, "" for each that there is none of, or that has more than ``most`` bytes."""

    def ask(self, uid: str, name: str, text: str, seconds: float) -> None:
        """Put a question to a process, by a ``name`` of its own; nobody hears it after ``seconds``."""

    def asked(self, uid: str) -> tuple[tuple[str, str], ...]:
        """The questions to this process that it has not taken yet, each as its name and text, and once in all."""

    def answer(self, name: str, text: str, seconds: float) -> None:
        """Keep the answer to the question ``name`` for ``seconds``."""

    def answer_to(self, name: str, most: int) -> str:
        """The answer, of which ``most`` bytes are read, or ""."""

    def notify(self) -> None:
        """Tell every process that desired settings or commands changed."""

    def call(self, uids: Collection[str]) -> None:
        """Have these processes go to the ledger of budgets."""

    def line_up(self, uid: str) -> None:
        """Have this process's ``wait`` hear of its turn, after those who have lined up before."""

    def pass_turn(self, uid: str) -> None:
        """This process has been at the ledger: whoever has waited for longest hears so."""

    def wait(self, seconds: float) -> Heard:
        """Sleep up to ``seconds``, until somebody called ``notify``, or might have, or ``call`` with this process."""

    def wake(self) -> None:
        """End this process's own ``wait``."""

    def close(self) -> None:
        """Drop the connection to the store."""


class StoreDown(Exception):
    """The store can't be reached; the message is a ``sentence`` that holds no secret."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence
