"""What a look at a PgBouncer costs the process that leads."""

from __future__ import annotations

from contextlib import ExitStack
from time import monotonic, perf_counter, process_time
from typing import Any

import psycopg

from benchmarks.report import Measurement, Target, median, percentile
from poolmgr.conf import Declared
from poolmgr.targets.pgbouncer.pool import BouncerPool

#: How many clients PgBouncer has while it is looked at, each idle, and how long a round may take.
CLIENTS, LIMIT = (0, 100, 400), 5.0
DATABASES = ("size4", "size8", "size10")


def measure(world: Any) -> Measurement:
    rounds = 50 if world.quick else 500
    report = Measurement(
        "What a look at PgBouncer's console costs",
        f"Milliseconds of a round of the process that leads: settings, pools, databases, sums and holders of"
        f" {len(DATABASES)} databases over one connection, compared with what is wanted; {rounds} rounds.",
        ["clients", "round p50", "p99", "its CPU"],
    )
    if world.bouncer is None:
        report.notes.append("Not measured, since this machine has no PgBouncer.")
        return report
    for clients in CLIENTS:
        taken, cpu = _rounds(world.bouncer, clients, rounds)
        report.rows.append([clients, median(taken), percentile(taken, 99), cpu])
        report.targets.append(Target(f"a round beside {clients} clients, p50", median(taken), LIMIT, unit=" ms"))
    return report


def _rounds(bouncer: Any, clients: int, rounds: int) -> tuple[list[float], float]:
    """Milliseconds of each round, and of this process's CPU in the mean one."""
    url = bouncer.console_url()
    # What is wanted is so already, as in nearly every round.
    declared = Declared("bench-console", "pgbouncer", url, pool={"max_size": 20}, rest={"DATABASES": DATABASES})
    pool = BouncerPool(declared)
    pool.lead(monotonic() + 3600.0)
    [instance] = pool.instances
    with ExitStack() as stack:
        for number in range(clients):
            at = bouncer.for_size((4, 8, 10)[number % 3])
            stack.enter_context(psycopg.connect(at, autocommit=True, prepare_threshold=None))
        try:
            instance._round()  # connects
            before, taken = process_time(), []
            for _ in range(rounds):
                began = perf_counter()
                instance._round()
                taken.append((perf_counter() - began) * 1e3)
                assert not instance.error, instance.error
            return taken, (process_time() - before) / rounds * 1e3
        finally:
            instance._console.close()
            pool.retire()
