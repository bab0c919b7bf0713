"""Many processes, few connections: real processes of a site before one small server, and a deploy that doubles them."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import ExitStack
from typing import Any

from benchmarks.crowd import LOOK, Request, Sampled
from benchmarks.report import Measurement, Target, percentile
from benchmarks.servers import find_pgbouncer
from benchmarks.site import THREADS, WORK
from benchmarks.ways import FULL, PACE, QUICK, WAYS, Found, Phase, Scale, Servers, Way

COLUMNS = [
    *("", "served a second", "wait p50 ms", "wait p99 ms", "failed"),
    *("server connections, most", "PgBouncer's clients, most"),
]


def _about(scale: Scale) -> str:
    return (
        f"{scale.processes} processes with pools of up to {THREADS} connections, before a server that has {scale.server}, of"
        f" which the site is to have {scale.room}: as the pools' budget; as PgBouncer's `default_pool_size`, where it admits"
        f" {scale.clients} clients; or as both, where the pools have a budget of {scale.budget} of those. Requests come to"
        f" each process in bursts of 1 to {THREADS}, one in {PACE:g} s in the mean, whether or not those before are served;"
        f" each has a query of {WORK * 1e3:g} ms. *Wait*: what a request took beyond that. *Failed*: those that got an error,"
        f" of all. *Most*: at any instant of those looked at, {1 / LOOK:.0f} a second. A deploy makes as many new processes,"
        f" which take over a part of the traffic each, and {scale.together:g} s later ends the old ones; in quarters, a"
        " quarter at a time."
    )


def _words(words: str, scale: Scale) -> str:
    if words == "steady":
        return f"{scale.processes} processes"
    return f"a deploy: {2 * scale.processes} for a while, {scale.processes + scale.processes // 4} in quarters"


def measure(world: Any) -> Measurement:
    scale = QUICK if world.quick else FULL
    ways = [way for way in WAYS if find_pgbouncer() or not way.bouncer]
    report = Measurement("Many processes, few connections", _about(scale), COLUMNS)
    with ExitStack() as stack:
        servers = Servers(stack, world.directory / "scaling", scale)
        found = {way: servers.run(way) for way in ways}
    for words, which in (("steady", "steady"), ("a deploy", "deploy")):
        report.rows.append([f"*{_words(words, scale)}*"] + [""] * (len(COLUMNS) - 1))
        for way in ways:
            report.rows.append([way.label, *_row(found[way], getattr(found[way], which))])
    _judge(report, scale, found)
    if not find_pgbouncer():
        report.notes.append("Without PgBouncer, since this machine has none.")
    return report


def _row(found: Found, phase: Phase) -> list[Any]:
    requests = _during(found.requests, phase)
    waits = [1e3 * (request.took - WORK) for request in requests if not request.error]
    failed = sum(bool(request.error) for request in requests)
    return [
        len(waits) / (phase.ended - phase.began),
        percentile(waits, 50) if waits else None,
        percentile(waits, 99) if waits else None,
        f"{failed} of {len(requests)}",
        _most(found.connections, phase),
        _most(found.clients, phase) if found.clients else None,
    ]


def _during(requests: list[Request], phase: Phase) -> list[Request]:
    return [each for each in requests if phase.began <= each.arrived < phase.ended]


def _most(samples: list[Sampled], phase: Phase) -> int:
    return max(each.value for each in samples if phase.began <= each.at < phase.ended)


def _judge(report: Measurement, scale: Scale, found: dict[Way, Found]) -> None:
    for way, each in found.items():
        name, whole = way.label.strip("*"), Phase(each.steady.began, each.deploy.ended)
        if way.budget or way.bouncer:
            failed = sum(bool(request.error) for request in _during(each.requests, each.steady))
            report.targets.append(Target(f"{name}, {scale.processes} processes: failed", failed, 0))
        if way.bouncer:
            most = _most(each.connections, whole)
            report.targets.append(Target(f"{name}: server connections, in the deploy too", most, scale.room))
        errors = Counter(_kind_of(request.error) for request in _during(each.requests, whole) if request.error)
        if errors:
            told = "; ".join(f"{number} × “{error}”" for error, number in errors.most_common(4))  # noqa: RUF001
            report.notes.append(f"What failed with {name}: {told}.")


def _kind_of(error: str) -> str:
    """An error's words without the numbers of its pool."""
    return re.sub(r"127\.0\.0\.1:\d+/?\w*|\s*\([^()]*in use.*$", "", error).strip()
