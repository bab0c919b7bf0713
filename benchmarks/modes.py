"""What each combination of our modes and PgBouncer's costs, and how far it multiplexes: one server, one run."""

from __future__ import annotations

from contextlib import suppress
from random import Random
from threading import Barrier, Thread
from time import perf_counter, sleep
from typing import Any

import psycopg

from benchmarks.contenders import OURS, Contender, Django, Held, ours
from benchmarks.report import Measurement, in_rounds, median
from benchmarks.run import MODES

QUERY = "SELECT 1"
ALONE = "alone"
#: The crowd: so many pools stand for as many processes, each with so many threads and at most so many connections.
POOLS, THREADS, SIZE = 10, 6, 6
#: Seconds in the mean that a request of the crowd is elsewhere between its two queries.
ELSEWHERE = 0.05


def measure(world: Any) -> Measurement:
    combinations = [_Combination(world, mode, theirs) for theirs in _theirs(world) for mode in (None, *MODES)]
    rounds = 5 if world.quick else 40
    for each in combinations:
        each.open()
    costs = in_rounds(combinations, rounds, lambda each: each.cost())
    for each in combinations:
        each.close()
    crowds = in_rounds(combinations, 1 if world.quick else 3, lambda each: each.crowd(2 if world.quick else 10))
    report = Measurement(
        "Our modes beside PgBouncer's",
        f"*query* and *atomic()*: microseconds of a request with one query, and with one query in a transaction, by one"
        f" thread; medians of {rounds} rounds. The others: {POOLS} pools, as of as many processes, with {THREADS} threads and"
        f" up to {SIZE} connections each; each request is one query, {ELSEWHERE:g} s elsewhere in the mean, one query,"
        " the end of the request. *Server connections*: the most that the server had for it. Without a pool of ours each"
        " thread keeps a connection, as with `CONN_MAX_AGE=None`.",
        ["PgBouncer", "our pool", "query", "atomic()", "requests a second", "clients", "server connections"],
    )
    for each, cost, crowd in zip(combinations, costs, crowds, strict=True):
        query, transaction = (_middle(one[kind] for one in cost) for kind in ("query", "atomic"))
        figures = (_middle(one[which] for one in crowd) for which in range(3))
        report.rows.append([each.theirs, each.ours or "none", query, transaction, *figures])
    return report


def _theirs(world: Any) -> tuple[str, ...]:
    return (ALONE, *MODES) if world.bouncer else (ALONE,)


def _middle(values: Any) -> float | None:
    there = [each for each in values if each is not None]
    return median(there) if there else None


class _Combination:
    def __init__(self, world: Any, mode: str | None, theirs: str) -> None:
        self.ours, self.theirs = mode, theirs
        self._direct = world.url
        self._url = world.url if theirs == ALONE else world.bouncer.for_mode(theirs)
        self._transacts = "statement" not in (mode, theirs)

    def open(self, number: int = 1) -> None:
        self._opened = [self._make() for _ in range(number)]
        for each in self._opened:
            each.open(self._url, 0, SIZE)

    def close(self) -> None:
        for each in self._opened:
            each.leave()
            each.close()

    def _make(self) -> Django:
        name = f"{self.ours or 'none'}_{self.theirs}"
        return Django(name, name, OURS, ours(self.ours)) if self.ours else Held(name, name)

    def cost(self) -> dict[str, float | None]:
        """Microseconds of a request."""
        [one] = self._opened
        return {"query": _timed(one, transacts=False), "atomic": _timed(one, True) if self._transacts else None}

    def crowd(self, requests: int) -> tuple[float, float, float]:
        """Requests a second, and the most clients and server connections."""
        self._end_sessions()
        self.open(POOLS)
        ready = Barrier(POOLS * THREADS + 1)
        threads = [
            Thread(target=_visit, args=(each, ready, requests, Random(f"{each.alias} {number}")))
            for each in self._opened
            for number in range(THREADS)
        ]
        for thread in threads:
            thread.start()
        ready.wait()
        began, most = perf_counter(), 0
        with psycopg.connect(self._direct, autocommit=True, application_name="onlooker") as onlooker:
            while any(thread.is_alive() for thread in threads):
                most = max(most, self._sessions(onlooker))
                sleep(0.01)
            seconds = perf_counter() - began
        clients = sum(each.connection.managed_pool.snapshot().size if self.ours else THREADS for each in self._opened)
        self.close()
        return POOLS * THREADS * requests / seconds, clients, most

    def _sessions(self, onlooker: Any) -> int:
        """At the server, of this combination: PgBouncer names its own after whoever uses them."""
        name = f"{self.ours or 'none'}_{self.theirs}"
        statement = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
        return int(onlooker.execute(statement, [name]).fetchone()[0])

    def _end_sessions(self) -> None:
        """Those that a PgBouncer keeps of the combination before."""
        with psycopg.connect(self._direct, autocommit=True) as connection, suppress(psycopg.Error):
            connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name LIKE %s", ["%\\_%"]
            )


def _timed(one: Django, transacts: bool, times: int = 10) -> float:
    began = perf_counter()
    for _ in range(times):
        if transacts:
            with one.atomic():
                one.query(QUERY)
        else:
            one.query(QUERY)
        one.end()
    return (perf_counter() - began) / times * 1e6


def _visit(one: Contender, ready: Barrier, requests: int, random: Random) -> None:
    ready.wait()
    sleep(random.uniform(0, 2 * ELSEWHERE))  # else all would ask at the same moment, again and again
    for _ in range(requests):
        one.query(QUERY)
        sleep(random.uniform(0, 2 * ELSEWHERE))
        one.query(QUERY)
        one.end()
    one.leave()
