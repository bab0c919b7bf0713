"""Many threads that do nothing but fight for few connections."""

from __future__ import annotations

from threading import Barrier, Event, Thread
from time import perf_counter, sleep
from typing import Any

from benchmarks.contenders import (
    MANAGED,
    NATIVE_POOL,
    PSYCOPG_POOL,
    REAL_POOL,
    SESSION,
    SQLALCHEMY,
    TRANSACTION,
    Contender,
    Django,
)
from benchmarks.report import Measurement, Target, in_rounds, median

THREADS, SIZE = 64, 8
CONTENDERS = [PSYCOPG_POOL, SQLALCHEMY, MANAGED, NATIVE_POOL, REAL_POOL, SESSION, TRANSACTION]
OURS = (MANAGED, SESSION, TRANSACTION)
KINDS = (("no query", None), ("SELECT 1", "SELECT 1"))


def measure(world: Any) -> Measurement:
    seconds, rounds = (0.5, 2) if world.quick else (1.0, 7)
    report = Measurement(
        "Many threads fight for few connections",
        f"{THREADS} threads on {SIZE} connections for {seconds:g} s, {rounds} rounds. *Checkouts* a second, median and"
        " minimum; *of psycopg_pool*: the median of the rounds' ratios. Fairness over one round, the worst of all: the"
        " fewest, the median and the most checkouts that a thread got, and Jain's index (1: all the same). The bare pools"
        " check out a connection; those in Django make a cursor and close too, which the bare ones don't: the pool is held to"
        " the bare psycopg_pool, and the modes' own yardstick is *of native's*, Django's native pool.",
        ["", "checkouts", "min", "of psycopg_pool", "of native's", "fewest", "median", "most", "Jain's index"],
    )
    for words, statement in KINDS:
        found = in_rounds(
            CONTENDERS, rounds, lambda each, statement=statement: _one_round(world, each, statement, seconds)
        )
        report.rows.append([f"*{words}*"] + [""] * (len(report.columns) - 1))
        for contender, got in zip(CONTENDERS, found, strict=True):
            _add(report, contender, words, got, found, seconds)
    return report


def _one_round(world: Any, contender: Contender, statement: str | None, seconds: float) -> list[int]:
    """How many checkouts each thread got."""
    contender.open(world.url, SIZE, SIZE)
    ready, stop, counts = Barrier(THREADS + 1), Event(), [0] * THREADS

    def fight(which: int) -> None:
        # The pool is full before the clock starts.
        contender.query("SELECT 1")
        contender.end()
        ready.wait()
        stopped, query, end, count = stop.is_set, contender.query, contender.end, 0
        while not stopped():
            query(statement)
            end()
            count += 1
        counts[which] = count
        contender.leave()

    threads = [Thread(target=fight, args=(which,)) for which in range(THREADS)]
    for thread in threads:
        thread.start()
    ready.wait()
    began = perf_counter()
    sleep(seconds)
    stop.set()
    # The sleeper is one of the crowd that wants the interpreter, and may wake late.
    took = perf_counter() - began
    for thread in threads:
        thread.join()
    contender.close()
    return [round(count * seconds / took) for count in counts]


def _add(report: Measurement, contender: Contender, words: str, got: Any, found: Any, seconds: float) -> None:
    rates = [sum(counts) / seconds for counts in got]
    share, of_native = (
        median(sum(mine) / sum(base) for mine, base in zip(got, found[CONTENDERS.index(each)], strict=True))
        for each in (PSYCOPG_POOL, NATIVE_POOL)
    )
    worst = min(got, key=jain)
    fairness = [min(worst), median(worst), max(worst), jain(worst)]
    inside = of_native if isinstance(contender, Django) else None
    report.rows.append([contender.label, median(rates), min(rates), share, inside, *fairness])
    name = f"{contender.label.strip('*')}, {words}"
    if contender is MANAGED:
        report.targets.append(Target(f"{name}: checkouts, of the bare psycopg_pool's", share, 0.9, at_least=True))
    if contender in OURS:
        fewest = min(worst) / median(worst)
        report.targets.append(Target(f"{name}: the fewest of a thread, of the median", fewest, 0.1, at_least=True))


def jain(counts: list[int]) -> float:
    """1 when all have the same, 1/n when one has everything."""
    squares = len(counts) * sum(count * count for count in counts)
    return sum(counts) ** 2 / squares if squares else 0.0
