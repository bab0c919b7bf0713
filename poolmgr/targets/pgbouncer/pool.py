"""BouncerPool: the port on a PgBouncer, whose pools are in none of our processes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from threading import Lock
from time import monotonic, sleep

from poolmgr.conf import Declared, conf
from poolmgr.exceptions import CheckoutError
from poolmgr.metrics.phrases import joined, phrase
from poolmgr.metrics.snapshot import PoolSnapshot
from poolmgr.pools import declaring, registry
from poolmgr.pools.allowance import Allowance
from poolmgr.pools.desired import Desired
from poolmgr.pools.plan import Plan, plan
from poolmgr.pools.port import Load, Pool, Recycled
from poolmgr.pools.spec import PoolSpec
from poolmgr.targets.pgbouncer import view
from poolmgr.targets.pgbouncer.consoles import databases, own_settings, places
from poolmgr.targets.pgbouncer.cutting import cut_off, let_in
from poolmgr.targets.pgbouncer.holds import Hold, Holds
from poolmgr.targets.pgbouncer.instance import Instance
from poolmgr.targets.pgbouncer.kind import PGBOUNCER
from poolmgr.targets.pgbouncer.recycling import Recycling
from poolmgr.targets.pgbouncer.words import settings_for

#: Seconds between two looks whether what was asked is so, and whether old connections are there still.
_LOOK, _RECYCLED = 0.02, 0.1


class BouncerPool:
    """Wishes are noted and numbered here; the threads of the instances have them come true, and read them back.

    Of the bootstrap settings those count that are written down: a PgBouncer that has none of ours is only looked at.
    It does nothing before ``lead()``.
    """

    kind = PGBOUNCER.name
    is_limited = False

    def __init__(self, each: Declared) -> None:
        self.target = each.target
        self.bootstrap = declaring.bootstrap(each, PGBOUNCER)
        self.desired = self.in_force = Desired(self.bootstrap)
        self.opened = self.retired = False
        self.generation = 1
        self._written = frozenset(each.pool)
        self.databases = databases(each)
        self.own: Mapping[str, Mapping[str, str]] = own_settings(each)
        self._until = 0.0
        self._lock = Lock()
        self._wish = 0
        self._holds = Holds(self.databases)
        found = places(each)
        self.parts = len(found) * len(self.databases)
        self._wanted = self._settings(self.desired)
        self.address = ", ".join(place.address for place in found)
        self.instances = tuple(Instance(self, place, conf().HEARTBEAT_INTERVAL) for place in found)
        registry.born(self)

    @property
    def spec(self) -> PoolSpec:
        return self.desired.spec

    @property
    def problem(self) -> str:
        """What it was asked and does not do, in sentences without the last full stop."""
        found = [each for instance in self.instances for each in instance.problems]
        if 0 < self.spec.budget < self.parts:
            found.append(
                f"the budget of {self.spec.budget} is less than one connection for each of {self.parts} databases and"
                f" instances of {self.target!r}, which each may have one"
            )
        return ". ".join(dict.fromkeys(found))

    @property
    def paused(self) -> bool:
        pictures = [each.picture for each in self.instances]
        return all(seen is not None and seen.paused for seen in pictures)

    def keeps_paused(self, database: str = "") -> bool:
        return not self._holds.kept().isdisjoint(self._of(database))

    # -- who leads ----------------------------------------------------------------------------------------------------

    def lead(self, until: float) -> None:
        """This process manages it until then, on the monotonic clock, unless it is told again."""
        begins, self._until = not self.may_act(), until
        if begins:
            self._hurry()

    def may_act(self) -> bool:
        return not self.retired and monotonic() < self._until

    # -- the port -----------------------------------------------------------------------------------------------------

    def begin(self, desired: Desired | None, allowance: Allowance | None, predecessor: Pool | None) -> None:
        if desired is not None:
            self.desired, self._wanted = desired, self._settings(desired)

    def open(self) -> None:
        with self._lock:
            if self.opened or self.retired:
                return
            self.opened = True
        for each in self.instances:
            each.start()

    def retire(self) -> None:
        self.retired = True
        for each in self.instances:
            each.stop()

    def close(self, timeout: float = 5.0) -> None:
        self.retire()
        deadline = monotonic() + timeout
        for each in self.instances:
            each.join(max(0.0, deadline - monotonic()))

    def disown(self) -> None:
        self.retired = True
        self._lock, self._holds = Lock(), Holds(self.databases)

    def apply(self, desired: Desired) -> Plan:
        with self._lock:
            made = plan(self.spec, desired.spec)
            if desired == self.desired:
                return made
            self.desired = desired
            self._wanted = self._settings(desired)
            self._wish += 1
        self._hurry()
        return made

    def limit(self, allowance: Allowance | None) -> None:
        """Nothing: PgBouncer keeps to the budget by itself."""

    def load(self) -> Load:
        seen = [each.picture for each in self.instances if each.picture and not self.retired]
        used = sum(each.used for each in seen)
        return Load(used + sum(each.idle + each.opening for each in seen), used, sum(each.pending for each in seen))

    def pause(self, database: str = "") -> None:
        self._ask(True, database)

    def resume(self, database: str = "") -> None:
        self._ask(False, database)

    def settle(self, timeout: float, database: str = "") -> str:
        """Wait until the last pause or resume is so; "" or a sentence on what keeps it from that. Blocks."""
        asked, holds = monotonic(), self._holds.now()
        wanted = {name: holds[name].number for name in self._of(database)}
        while late := [each for each in self.instances if not wanted.items() <= each.held.items()]:
            failed = [why for each in late if (why := _failure(each, wanted, asked))]
            if failed or self.retired or monotonic() - asked >= timeout:
                return joined("; ", failed) or phrase("PgBouncer did not do so within %(time)s s", time=float(timeout))
            sleep(_LOOK)
        gone = [each for each in self.instances if database and each.picture and not each.picture.has(database)]
        lacks = phrase("it has no database %(name)s", name=repr(database))
        return joined("; ", (_at(each.address, lacks) for each in gone))

    def cut_off(self, command: str, database: str = "") -> str:
        return self._at_each(lambda url: cut_off(url, self.target, command, self._of(database), self.may_act))

    def let_in(self, database: str, but: Collection[str]) -> str:
        names = [name for name in self._of(database) if name not in but]
        return self._at_each(lambda url: let_in(url, self.target, names, self.may_act))

    def _at_each(self, act: Callable[[str], None]) -> str:
        failed = []
        for each in self.instances:
            try:
                act(each.url)
            except CheckoutError as error:
                failed.append(_at(each.address, str(error)))
        self._hurry()
        return joined("; ", failed)

    def recycle(self, timeout: float = 30.0, database: str = "") -> Recycled:
        deadline = monotonic() + timeout
        self.generation += 1
        under_way = [(each, Recycling(each.url, self.target, self._of(database))) for each in self.instances]
        failed: dict[str, str] = {}
        old = self._count(under_way, Recycling.begin, failed)
        try:
            while (left := self._count(under_way, Recycling.left, failed)) and monotonic() < deadline:
                sleep(_RECYCLED)
        finally:
            for _, recycling in under_way:
                recycling.close()
        self._hurry()
        return Recycled(old - left, left, joined("; ", (_at(place, why) for place, why in failed.items())))

    def _count(
        self, under_way: list[tuple[Instance, Recycling]], how: Callable[[Recycling], int], failed: dict[str, str]
    ) -> int:
        """The sum over those that have not failed so far, and why others did."""
        found = 0
        for instance, recycling in under_way:
            if instance.address not in failed:
                try:
                    found += how(recycling)
                except CheckoutError as error:
                    failed[instance.address] = str(error)
        return found

    def snapshot(self) -> PoolSnapshot:
        if all(each.followed == self._wish for each in self.instances):
            self.in_force = self.desired
        return view.snapshot(self)

    def find_checkout(self, name: str) -> None:
        """None: whoever holds its connections is in no process of ours."""

    # -- what the instances ask ---------------------------------------------------------------------------------------

    def wishes(self) -> tuple[int, Mapping[str, str]]:
        with self._lock:
            return self._wish, self._wanted

    def holds(self) -> Mapping[str, Hold]:
        return self._holds.now()

    def _ask(self, paused: bool, database: str) -> None:
        self._holds.ask(paused, self._of(database))
        self._hurry()

    def _of(self, database: str) -> tuple[str, ...]:
        return (database,) if database else self.databases

    def _settings(self, desired: Desired) -> dict[str, str]:
        fields = PGBOUNCER.honours if desired.revision else self._written
        return settings_for(desired.spec, fields, self.parts)

    def _hurry(self) -> None:
        for each in self.instances:
            each.hurry()


def _failure(each: Instance, wanted: Mapping[str, int], since: float) -> str:
    """Why what is wanted of the databases, by the numbers of the wishes, is not so at one of the processes."""
    refused = [why for name, (number, why) in each.refused.items() if wanted.get(name) == number]
    why = refused[0] if refused else each.error if each.error_at >= since else ""
    return _at(each.address, why) if why else ""


def _at(address: str, why: str) -> str:
    return phrase("PgBouncer at %(address)s: %(error)s", address=address, error=why)
