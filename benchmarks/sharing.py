"""What minding the budgets of five targets costs a process of a large fleet."""

from __future__ import annotations

import json
from datetime import timedelta
from time import perf_counter, process_time
from typing import Any

from django.utils import timezone

from benchmarks.report import Measurement, Target, median
from poolmgr.control.access import control_database
from poolmgr.control.sharing.ledger import RowLedger, open_ledger
from poolmgr.control.sharing.share import Claim, Lease
from poolmgr.models import Lease as LeaseRow
from poolmgr.models import Ledger

FLEETS, TARGETS = (10, 200, 1000), 5
#: A lease long enough that nobody's is over while it is measured.
LENGTH = timedelta(seconds=600)


def measure(world: Any) -> Measurement:
    rounds = 20 if world.quick else 100
    measured = Measurement(
        "What minding a budget costs",
        f"Milliseconds of a process that shares the budgets of {TARGETS} targets with others: the CPU of the process and the "
        f"time that passes, medians of {rounds} rounds. *Claim*: something changed; *renewal*: only time has passed, as in "
        "most rounds. Redis has no part in it.",
        ["processes", "claim, CPU", "claim", "renewal, CPU", "renewal"],
    )
    for processes in FLEETS:
        figures = _in_a_fleet_of(processes, rounds)
        measured.rows.append([processes, *figures])
        if processes == 200:
            measured.targets += [
                Target("CPU of a round that claims, 200 processes × 5 targets", figures[0], 5.0, unit=" ms"),  # noqa: RUF001
                Target("CPU of a round that renews", figures[2], 5.0, unit=" ms"),
            ]
    return measured


def _in_a_fleet_of(processes: int, rounds: int) -> list[float]:
    targets = [f"target{number}" for number in range(TARGETS)]
    LeaseRow.objects.all().delete()
    Ledger.objects.all().delete()
    open_ledger()
    until = timezone.now() + LENGTH / 2
    others = [
        LeaseRow(
            uid=f"host-{number}-{number:08x}",
            serial=1,
            until=until,
            length=LENGTH,
            leases=json.dumps({target: Lease(1, 1, number % 4, 1, processes) for target in targets}),
        )
        for number in range(processes - 1)
    ]
    LeaseRow.objects.bulk_create(others)
    Ledger.objects.update(total=len(others) * TARGETS)
    ledger = RowLedger(LENGTH)
    claims = dict.fromkeys(targets, Claim(held=1, limit=1, want=2, warm=1, budget=processes))
    serial = 0
    claimed, renewed = [], []
    for _ in range(rounds):
        with control_database():
            began = process_time(), perf_counter()
            serial = ledger.claim("host-me", serial, claims).serial
            claimed.append((process_time() - began[0], perf_counter() - began[1]))
        with control_database():
            began = process_time(), perf_counter()
            assert ledger.renew("host-me", serial)
            renewed.append((process_time() - began[0], perf_counter() - began[1]))
    found = [1e3 * median([each[which] for each in some]) for some in (claimed, renewed) for which in (0, 1)]
    LeaseRow.objects.all().delete()
    Ledger.objects.all().delete()
    open_ledger()
    return found
