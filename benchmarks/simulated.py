"""Many simulated processes in this one: each does what a real one's agent does, over the same code and real connections."""

from __future__ import annotations

import os
import selectors
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep, thread_time, time
from typing import Any, TypeVar

import psycopg
from django.db import connections
from msgspec.structs import replace

from poolmgr.control.access import control_database
from poolmgr.control.following.follower import Follower
from poolmgr.control.following.orders import Orders
from poolmgr.control.sharing.ledger import RowLedger
from poolmgr.control.sharing.line import LineFull, Pauses
from poolmgr.control.sharing.share import Claim
from poolmgr.control.store.database import DatabaseStore
from poolmgr.control.store.redis import RedisStore
from poolmgr.metrics.snapshot import ProcessBeat

T = TypeVar("T")
#: Threads in which they take turns.
HANDS = 4


class Simulated:
    """One process. ``beat`` is a heartbeat of a real one, which this one gives as its own."""

    def __init__(self, number: int, beat: ProcessBeat, redis: str, ledger: RowLedger, budget: int) -> None:
        self.uid = f"host{number % 50}.example.org-{number + 1000}-{number:08x}"
        self.store = RedisStore(redis)
        self._rows, self._ledger = DatabaseStore(), ledger
        self._follower = Follower(self.uid, "web", Orders(self.uid, lambda: None))
        self._beat = replace(beat, uid=self.uid, host=f"host{number % 50}.example.org", pid=number + 1000)
        self._claims = {"default": Claim(held=1, limit=1, want=1, warm=1, budget=budget)}
        self._serial = 0

    def _now(self) -> ProcessBeat:
        return replace(self._beat, at=time())

    def beat(self) -> None:
        self.store.beat(self._now())

    def turn(self) -> None:
        """Look at profiles and commands."""
        self._follower.turn(0.0, lambda: None)

    def turn_and_beat(self) -> None:
        """The same where there is no Redis."""
        self._follower.turn(0.0, lambda: self._rows.beat(self._now()))

    def claim(self) -> None:
        self._serial = _in_turn(lambda: self._ledger.claim(self.uid, self._serial, self._claims)).serial
        self.store.pass_turn(self.uid)

    def renew(self) -> None:
        assert _in_turn(lambda: self._ledger.renew(self.uid, self._serial))
        self.store.pass_turn(self.uid)

    def listen(self) -> Any:
        """Subscribe as an agent does; the socket that hears."""
        self.store.wait(0.0)
        return self.store._ear.connection._sock

    def leave(self) -> None:
        self.store.close()


def _in_turn(visit: Callable[[], T]) -> T:
    """As an agent goes to the ledger: who finds the line full comes again."""
    pauses = Pauses()
    while True:
        try:
            with control_database():
                return visit()
        except LineFull as full:
            sleep(pauses.next(full.fleet))


@dataclass(frozen=True)
class Paced:
    """What ``seconds`` of it came to: times of each act in seconds, by the clock and of CPU."""

    seconds: float
    times: Sequence[float]
    cpu: Sequence[float]


def paced(fleet: Sequence[Simulated], act: Callable[[Simulated], None], every: float, seconds: float) -> Paced:
    """Have each process act every so many seconds, one after the other, for ``seconds``; with ``every`` 0 each once, at
    once."""
    times: list[float] = []
    cpu: list[float] = []
    until = monotonic() + seconds if every else 0.0
    began = monotonic()

    def work(part: Sequence[Simulated], phase: float) -> None:
        turn = 0
        while every or turn < len(part):
            due = began + (turn + phase) * every / len(part)
            if until and due >= until:
                break
            if (early := due - monotonic()) > 0:
                sleep(early)
            started, used = monotonic(), thread_time()
            act(part[turn % len(part)])
            times.append(monotonic() - started)
            cpu.append(thread_time() - used)
            turn += 1
        connections.close_all()

    threads = [threading.Thread(target=work, args=(fleet[hand::HANDS], hand / HANDS)) for hand in range(HANDS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Paced(monotonic() - began, times, cpu)


def heard_by_all(fleet: Sequence[Simulated], publish: Callable[[], None]) -> float:
    """Seconds from before the push until the last of them has it at its socket."""
    with selectors.DefaultSelector() as selector:
        for each in fleet:
            selector.register(each.listen(), selectors.EVENT_READ)
        _quiet(selector)
        began = monotonic()
        publish()
        left = len(fleet)
        while left:
            for key, _ in selector.select(5.0):
                key.fileobj.recv(65536)  # type: ignore[union-attr]
                selector.unregister(key.fileobj)
                left -= 1
        return monotonic() - began


def _quiet(selector: selectors.BaseSelector) -> None:
    """Until what they were told of their subscriptions has been read."""
    while ready := selector.select(0.2):
        for key, _ in ready:
            key.fileobj.recv(65536)  # type: ignore[union-attr]


@dataclass(frozen=True)
class Spent:
    """What servers have spent so far: seconds of CPU, bytes, commands."""

    redis_cpu: float
    redis_commands: int
    redis_in: int
    redis_out: int
    postgres_cpu: float
    wal: int

    def __sub__(self, before: Spent) -> Spent:
        return Spent(*(getattr(self, name) - getattr(before, name) for name in self.__dataclass_fields__))


class Meter:
    """Asks both servers, over a connection of its own to each."""

    def __init__(self, redis: Any, postgres: Any, url: str) -> None:
        self._redis, self._postgres = redis, postgres
        self._connection = psycopg.connect(url, autocommit=True)

    def __call__(self) -> Spent:
        found = self._redis.info()
        row = self._connection.execute("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')").fetchone()
        assert row
        return Spent(
            found["used_cpu_user"] + found["used_cpu_sys"],
            found["total_commands_processed"],
            found["total_net_input_bytes"],
            found["total_net_output_bytes"],
            cpu_of(self._postgres.pid),
            int(row[0]),
        )

    def close(self) -> None:
        self._connection.close()


def cpu_of(pid: int) -> float:
    """Seconds of CPU of a process and its children, those that have ended too; 0 where no /proc tells."""
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        # utime, stime, and those of the children that it has waited for.
        if int(path.parent.name) == pid:
            ticks += sum(map(int, fields[11:15]))
        elif int(fields[1]) == pid:
            ticks += sum(map(int, fields[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")
