"""What the agent's thread does, round after round: follow, report, mind the budgets, sleep."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from threading import Event, Lock, Thread
from time import monotonic, time

from msgspec.structs import replace

from poolmgr.conf import conf
from poolmgr.control import reach
from poolmgr.control.access import control_alias, control_database
from poolmgr.control.deadline import deadline
from poolmgr.control.following.answering import Answers
from poolmgr.control.following.follower import Follower
from poolmgr.control.following.orders import Orders
from poolmgr.control.following.staggering import pause
from poolmgr.control.leading import Leading
from poolmgr.control.reporting.within import Within
from poolmgr.control.sharing.tender import Tender
from poolmgr.control.store import FleetStore, StoreDown, get_store
from poolmgr.control.store.base import Heard
from poolmgr.control.store.database import DatabaseStore
from poolmgr.control.tally import Tally
from poolmgr.control.watching.watch import Watch
from poolmgr.identity import host, process_uid, role, short_name
from poolmgr.metrics.snapshot import PoolSnapshot, ProcessBeat
from poolmgr.pools import registry
from poolmgr.pools.port import Pool
from poolmgr.serving.telling import serving
from poolmgr.version import __version__

log = logging.getLogger("poolmgr.agent")

#: Seconds between looks at whether requests wait for what only a lease, or the first word of the settings, can give.
_GLANCE = 0.1
#: Seconds that the end in good order may take.
_FAREWELL = 2.0


class Agent:
    """Follows, reports and minds the budgets, until it is stopped.

    The law of the lock: ``_work`` is held through each turn at the control database, so that whoever holds it knows that
    the agent has no connection to it. Everything else belongs to the thread.
    """

    def __init__(self, tally: Tally) -> None:
        self.uid = process_uid()
        self._role = role()
        self._started = time()
        self._store = get_store()
        self._rows = DatabaseStore()
        self._orders = Orders(self.uid, self._store.wake)
        self._follower = Follower(self.uid, self._role, self._orders)
        self._tender = Tender(self.uid, self)
        self._leading = Leading(self.uid)
        self._answers = Answers(self.uid, self._store.wake)
        self._tally = tally
        self._watch = Watch(self.uid)
        self._within = Within()
        self._store_error = ""
        self._store_lost = 0.0
        self._has_row = False
        self._beat_due = 0.0
        self._work = Lock()
        self._stopped = Event()
        self._quiet_after: Pool | None = None
        self._quiet = False
        self._thread = Thread(target=self._run, name="poolmgr-agent", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self, timeout: float = _FAREWELL) -> None:
        """End the thread, which tells the fleet that this process goes; wait up to ``timeout`` seconds for it."""
        self._stopped.set()
        self._store.wake()
        self._thread.join(timeout)

    def quiesce(self, target: str, timeout: float = 5.0) -> None:
        """Stay off the control database, if that is ``target``, until a new pool to it opens."""
        if target == control_alias() and self._work.acquire(timeout=timeout):
            try:
                self._quiet_after, self._quiet = registry.get(target), True
            finally:
                self._work.release()

    # -- in the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        news = True
        while not self._stopped.is_set():
            try:
                self._round(news)
                news = self._sleep()
            except Exception:  # a bug must cost a round, not the control of this process
                log.exception("the agent failed; it tries again in a second")
                self._stopped.wait(1.0)
        self._say_goodbye()

    def _round(self, news: bool) -> None:
        if news:
            self._answer()
        now = monotonic()
        beat = now >= self._beat_due
        if news or now >= self._follower.due:
            with self._work:
                if self._may_work():
                    # Acknowledged and reported at once: the page that sent the change waits for it.
                    beat |= self._follower.turn(self._turn_interval(), self._tend_rows)
                    self._tender.settle(self._follower.failure)
                else:
                    self._follower.due = now + conf().POLL_INTERVAL
        elif self._orders.unsaved:
            with self._work:
                if self._may_work():
                    self._follower.save_answers()
            beat = True
        if self._tender.due():
            with self._work:
                if self._may_work():
                    # Reported at once: sums of reports from before and after a change are those of no moment.
                    beat |= self._tender.work()
        if beat:
            self._beat()

    def _may_work(self) -> bool:
        if self._quiet:
            pool = registry.get(control_alias())
            self._quiet = pool is None or pool is self._quiet_after
        return not self._quiet

    def _turn_interval(self) -> float:
        """Seconds until the next turn, which must come before the fleet thinks that a process that beats in rows is dead."""
        return min(conf().POLL_INTERVAL, conf().PROCESS_TTL / 3) if self._beats_in_rows else conf().POLL_INTERVAL

    @property
    def _beats_in_rows(self) -> bool:
        return not self._store.pushes or bool(self._store_error)

    def _tend_rows(self) -> None:
        if self._beats_in_rows:
            self._has_row = True
            pools = _snapshots()
            self._rows.beat(self._report(pools))
            self._within.turn(pools)
            if not self._store.pushes:
                self._tally.tell(self._rows, self.uid, self._role, pools)
            self._answers.take(self._rows)
            self._lead(self._rows)
            self._look(self._rows)
        elif self._has_row:
            # Back at Redis: a row that only grew old would be taken for a process that died.
            self._rows.forget(self.uid)
            self._has_row = False
        self._watch.tend(self._rows if self._beats_in_rows else self._store)

    def _beat(self) -> None:
        """Report to Redis, where there is one; rows are written in the turn, on its connection."""
        self._beat_due = monotonic() + (self._turn_interval() if self._beats_in_rows else conf().HEARTBEAT_INTERVAL)
        if not self._store.pushes:
            return
        pools = _snapshots()
        try:
            self._store.beat(self._report(pools))
            self._within.turn(pools)
            self._tally.tell(self._store, self.uid, self._role, pools)
            self._lead(self._store)
            self._look(self._store)
        except StoreDown as error:
            if not self._store_error:
                self._store_lost = time()
                self._follower.due = 0.0  # the first beat in a row, before the last one in Redis expires
            if str(error) != self._store_error:
                log.warning("%s; heartbeats go to the control database, and changes arrive by the poll", error)
            self._store_error = str(error)
        else:
            if self._store_error:
                log.info("the fleet store answers again")
                if self._has_row:
                    self._follower.due = 0.0
            self._store_error, self._store_lost = "", 0.0

    def _lead(self, store: FleetStore) -> None:
        """After the report, so that the next one, which follows soon, has what was found where this process leads now."""
        if self._follower.informed and self._leading.turn(store):
            soon = monotonic() + _GLANCE
            self._beat_due = min(self._beat_due, soon)
            if store is self._rows:
                self._follower.due = min(self._follower.due, soon)

    def _look(self, store: FleetStore) -> None:
        """At the fleet, where this process keeps its episodes; what it finds is written in the next turn."""
        away = "" if store is self._rows else self._follower.problem
        if self._follower.informed and self._watch.turn(store, away) and not away and store is not self._rows:
            self._follower.due = 0.0

    def _report(self, pools: Mapping[Pool, PoolSnapshot]) -> ProcessBeat:
        invalid = self._follower.invalid
        # What ails one target is told with its pool, if there is one.
        homeless = invalid.keys() - {pool.target for pool in pools}
        told: tuple[str, ...] = (self._follower.problem, self._store_error, self._tender.problem, self._leading.problem)
        told += tuple(invalid[target] for target in sorted(homeless))
        return ProcessBeat(
            uid=self.uid,
            host=host(),
            pid=os.getpid(),
            role=self._role,
            started=self._started,
            at=time(),
            version=__version__,
            name=short_name(),
            pools=tuple(_told(pool, told, invalid.get(pool.target, "")) for pool, told in pools.items()),
            acks=self._orders.recent(),
            control_lost=lost.since if (lost := reach.known_outage(control_alias())) else 0.0,
            store_lost=self._store_lost,
            problems=tuple(filter(None, told)),
            serving=serving(),
        )

    # What the tender has others told.

    def call(self, uids: frozenset[str]) -> bool:
        return self._say(lambda: self._store.call(uids) if uids else None)

    def line_up(self) -> None:
        self._say(lambda: self._store.line_up(self.uid))

    def pass_turn(self) -> None:
        self._say(lambda: self._store.pass_turn(self.uid))

    def _say(self, words: Callable[[], None]) -> bool:
        """Whether others can hear it."""
        if not self._store.pushes or self._store_error:
            return False
        try:
            words()
        except StoreDown:  # which the next beat says
            return False
        return True

    def _sleep(self) -> bool:
        """Wait for what is due next; True when there is news."""
        while True:
            seconds = min(self._beat_due, self._follower.due) - monotonic()
            if seconds <= 0 or self._stopped.is_set():
                return False
            watching = self._tender.watches
            heard = self._store.wait(min(seconds, _GLANCE) if watching else seconds)
            if heard is Heard.NEWS:
                if self._orders.unsaved:  # of this process alone
                    return True
                self._answer()
                self._follower.due = min(self._follower.due, monotonic() + pause(self._store.fleet))
            if heard is Heard.CALL:
                self._tender.called()
            if heard is Heard.TURN:
                self._tender.has_turn()
            if heard is Heard.QUESTION:
                self._answer()
            if not self._tender.settled and registry.somebody_waits():
                self._follower.due = min(self._follower.due, monotonic() + _GLANCE)
            if watching and self._tender.due():
                return False

    def _answer(self) -> None:
        """What was asked where somebody is told of it; in rows it is found in the turn. Before that: it may wait for long."""
        if self._store.pushes:
            with suppress(StoreDown):  # which the next beat says
                self._answers.take(self._store)

    def _say_goodbye(self) -> None:
        if self._store.pushes:
            with _whatever_happens():
                self._leading.give_up(self._store)
            with _whatever_happens():
                self._tally.tell_all(self._store, self.uid, self._role, _snapshots())
            with _whatever_happens():
                self._watch.give_up(self._store)
            with _whatever_happens():
                self._store.forget(self.uid)
        if not self._quiet:
            with _whatever_happens(), deadline(control_alias(), _FAREWELL):
                if self._has_row:
                    self._leave_rows()
                # Over nothing that was borrowed before: it would be held still, of a budget that may be its own.
                self._tender.give_back()
        self._store.close()

    def _leave_rows(self) -> None:
        with control_database():
            with _whatever_happens():
                self._leading.give_up(self._rows)
            if not self._store.pushes:
                with _whatever_happens():
                    self._tally.tell_all(self._rows, self.uid, self._role, _snapshots())
            with _whatever_happens():
                self._watch.give_up(self._rows)
            with _whatever_happens():
                self._rows.forget(self.uid)


def _snapshots() -> dict[Pool, PoolSnapshot]:
    return {pool: pool.snapshot() for pool in registry.pools()}


def _told(pool: Pool, told: PoolSnapshot, invalid: str) -> PoolSnapshot:
    problem = pool.problem or invalid
    return replace(told, problem=problem) if problem else told


@contextmanager
def _whatever_happens() -> Iterator[None]:
    """For one word of a farewell: the process ends, and what was not said expires by itself."""
    try:
        yield
    except Exception as error:
        log.debug("no goodbye: %s", error)
