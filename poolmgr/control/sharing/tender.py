"""When the agent goes to the ledger, over which connection, and what holds while it can't be reached."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from time import monotonic, sleep
from typing import Protocol

from django.db.utils import Error as DatabaseError

from poolmgr.conf import conf
from poolmgr.control.access import control_alias, control_database, is_unmigrated, sentence_of
from poolmgr.control.deadline import deadline
from poolmgr.control.sharing.budget import Budget, Ledger
from poolmgr.control.sharing.ledger import Answer, RowLedger
from poolmgr.control.sharing.line import LineFull, Pauses
from poolmgr.control.sharing.share import FLOOR, Claim
from poolmgr.exceptions import ServerDown, ServerFull
from poolmgr.metrics.phrases import phrase
from poolmgr.pools import registry
from poolmgr.pools.allowance import Allowance
from poolmgr.pools.diagnosis import diagnose
from poolmgr.pools.port import Pool
from poolmgr.targets.known import bootstrap_spec, kind_named, known_targets, led_targets

log = logging.getLogger("poolmgr.agent")

#: Seconds that a claim may take, and seconds after one that failed until the next.
_LONGEST, _AGAIN = 3.0, 0.5
#: Seconds for which a process that ends waits until its connections have gone.
_PATIENCE = 1.0


class Voice(Protocol):
    """How the processes of a fleet wake each other, where they can."""

    def call(self, uids: frozenset[str]) -> bool:
        """Have them go to the ledger; whether anybody hears it."""

    def line_up(self) -> None:
        """Have somebody who leaves the ledger call ``has_turn()`` of this process's tender."""

    def pass_turn(self) -> None:
        """Tell who waits for a turn that this process leaves the ledger."""


class Tender:
    """Minds this process's budgets. Used by the agent's thread."""

    def __init__(self, uid: str, voice: Voice) -> None:
        length = conf().PROCESS_TTL
        visits = _Visits(RowLedger(timedelta(seconds=length)), voice)
        self._budget = Budget(uid, visits, length, voice.call, _Leased())
        self._settled = False
        self._ledger_is_there = True
        self._pauses = Pauses()
        self._waits_for_turn = False
        self._not_before = 0.0
        self.problem = ""

    @property
    def settled(self) -> bool:
        """Whether it is known what the pools of this process may hold, or that they may hold what they like."""
        return self._settled

    def settle(self, failure: BaseException | None) -> None:
        """After each turn at the control database, which may have failed: tell the pools whether they may open at all."""
        self._ledger_is_there = failure is None or not is_unmigrated(failure)
        if not self._ledger_is_there:
            # Installed and not migrated: without a ledger nobody can be asked.
            registry.set_limits(dict.fromkeys(_budgeted_by_settings(), Allowance(FLOOR)))
        elif failure is None:
            if not self._settled:
                registry.set_limits({})
            self._settled = True
        elif not self._settled:
            found = diagnose(failure)
            # Where the settings come from is where the pool goes to, so that to wait costs nothing; other targets are
            # served by their bootstrap settings, unless these say that others have a share in them.
            same = {control_alias()} if found.cls in (ServerDown, ServerFull) else set()
            registry.set_limits({}, waiting=same | _budgeted_by_settings(), failure=found)

    @property
    def watches(self) -> bool:
        """Whether ``due()`` should be asked often."""
        return not self._settled or self._budget.watches

    def called(self) -> None:
        """Another process thinks that this one should claim."""
        self._budget.called()

    def has_turn(self) -> None:
        """There may be a place at the ledger for one who found none."""
        if self._waits_for_turn:
            self._not_before = 0.0

    def due(self) -> bool:
        """Whether there is work, which ``work()`` does."""
        if not self._settled or not self._ledger_is_there or monotonic() < self._not_before:
            return False
        return self._budget.due() or self._budget.looks

    def work(self) -> bool:
        """Go to the ledger; True when what this process may hold is not what it was.

        No error gets out: what was in force stays in force until its lease is over.
        """
        before = self._budget.limits
        self._waits_for_turn = False
        try:
            if self._budget.looks:
                self._budget.look()
            if self._budget.due():
                self._budget.claim()
        except LineFull as full:
            self._not_before = monotonic() + self._pauses.next(full.fleet)
            self._waits_for_turn = True
        except Exception as error:
            self._not_before = monotonic() + _AGAIN
            sentence = phrase("Budgets: %(error)s", error=sentence_of(error))
            if sentence != self.problem:
                log.warning("%s", sentence, exc_info=None if isinstance(error, DatabaseError) else error)
            self.problem = sentence
            self._budget.failed(diagnose(error))
        else:
            self.problem = ""
            self._pauses.end()
        return before != self._budget.limits

    def give_back(self) -> None:
        """Tell the ledger that this process ends. Raises ``django.db.Error``, or ``LineFull`` when that takes too long."""
        if not self._budget.watches or not self._ledger_is_there:
            return
        self._budget.let_go()
        deadline_at = monotonic() + _PATIENCE
        while self._budget.holds_anything and monotonic() < deadline_at:
            sleep(0.01)
        self._wait_for_a_place(self._budget.give_back)

    def _wait_for_a_place(self, visit: Callable[[], None]) -> None:
        deadline_at = monotonic() + _PATIENCE
        while True:
            try:
                return visit()
            except LineFull as full:
                pause = self._pauses.next(full.fleet)
                if monotonic() + pause > deadline_at:
                    raise
                sleep(pause)


class _Visits:
    """The ledger, to which each call is a visit of its own: nothing of the pool that it may be about is held between them.

    A connection that is borrowed for a claim is one that the pool can't give up, and looks like demand.
    """

    def __init__(self, ledger: Ledger, voice: Voice) -> None:
        self._ledger, self._voice = ledger, voice

    def claim(self, uid: str, serial: int, claims: Mapping[str, Claim], adopting: frozenset[str]) -> Answer:
        with self._turn():
            return self._ledger.claim(uid, serial, claims, adopting)

    def renew(self, uid: str, serial: int) -> bool:
        with self._turn():
            return self._ledger.renew(uid, serial)

    def lacking(self) -> dict[str, int]:
        with _visit():
            return self._ledger.lacking()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        try:
            with _visit():
                yield
        except LineFull:
            self._voice.line_up()
            raise
        self._voice.pass_turn()


@contextmanager
def _visit() -> Iterator[None]:
    with control_database() as alias, deadline(alias, _LONGEST):
        yield


class _Leased:
    """Those of this process's pools that a lease may limit: a server keeps its own to a budget by itself."""

    def holders(self) -> tuple[Pool, ...]:
        return tuple(pool for pool in registry.holders() if not kind_named(pool.kind).elsewhere)

    def set_limits(self, limits: Mapping[str, Allowance]) -> None:
        registry.set_limits(limits)


def _budgeted_by_settings() -> set[str]:
    led = led_targets()
    specs = {target: bootstrap_spec(target) for target in known_targets() if target not in led}
    return {target for target, spec in specs.items() if spec is not None and spec.budget}
