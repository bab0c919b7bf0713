"""What checkout and return add to a cursor. One thread, nobody waits: the shortest way there is."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from benchmarks.contenders import (
    BOUNCER,
    CONNECT,
    MANAGED,
    NATIVE_CHECKED,
    NATIVE_POOL,
    PERSISTENT,
    PSYCOPG_POOL,
    QUEUE_BACKEND,
    REAL_POOL,
    SESSION,
    SQLALCHEMY,
    TRANSACTION,
    Contender,
    Django,
)
from benchmarks.report import Measurement, Target, in_rounds, median

EVERYBODY = [
    PERSISTENT,
    CONNECT,
    NATIVE_POOL,
    NATIVE_CHECKED,
    REAL_POOL,
    QUEUE_BACKEND,
    PSYCOPG_POOL,
    SQLALCHEMY,
    BOUNCER,
    MANAGED,
    SESSION,
    TRANSACTION,
]
#: Those that need no close(): each statement checks out and returns.
PER_STATEMENT = (REAL_POOL, TRANSACTION)
#: Those where each use costs a round trip or a connect.
SLOW = (CONNECT, NATIVE_CHECKED, QUEUE_BACKEND)
SIZE = 4


def measure(world: Any) -> Measurement:
    contenders = world.only_here(EVERYBODY)
    for each in contenders:
        each.open(world.url_for(each, SIZE), SIZE, SIZE)
        each.warm_up()
    # A millisecond each, and many: what else runs on the machine then hits few of them, and those of everybody alike.
    rounds = 40 if world.quick else 300
    found = in_rounds(contenders, rounds, _one_round)
    for each in contenders:
        each.leave()
        each.close()
    figures = {each.name: _summed(times) for each, times in zip(contenders, found, strict=True)}
    return _report(contenders, figures, rounds)


def _one_round(contender: Contender) -> dict[str, float]:
    """Microseconds of each kind of use."""
    times = 1 if contender is CONNECT else 10 if contender in SLOW else 100
    found = {}
    if isinstance(contender, Django):
        found["held"] = _held(contender, times)
    # Through PgBouncer nothing is borrowed before there is a statement.
    if contender not in (PERSISTENT, BOUNCER):
        found["full"] = _full(contender, times, None)
    found["query"] = _full(contender, min(times, 20), "SELECT 1")
    return found


def _held(contender: Django, times: int) -> float:
    connection = contender.connection
    if contender in PER_STATEMENT:
        # Only a transaction makes these keep their connection from cursor to cursor.
        with contender.atomic():
            return _cursors(connection, times)
    with connection.cursor():
        pass
    taken = _cursors(connection, times)
    contender.end()
    return taken


def _cursors(connection: Any, times: int) -> float:
    began = perf_counter()
    for _ in range(times):
        with connection.cursor():
            pass
    return (perf_counter() - began) / times * 1e6


def _full(contender: Contender, times: int, statement: str | None) -> float:
    if not isinstance(contender, Django):
        return _bare(contender, times, statement)
    connection, close = contender.connection, contender not in PER_STATEMENT and not contender.holds
    began = perf_counter()
    for _ in range(times):
        with connection.cursor() as cursor:
            if statement:
                cursor.execute(statement)
                cursor.fetchone()
        if close:
            connection.close()
    return (perf_counter() - began) / times * 1e6


def _bare(contender: Contender, times: int, statement: str | None) -> float:
    query = contender.query
    query(statement)
    began = perf_counter()
    for _ in range(times):
        query(statement)
    return (perf_counter() - began) / times * 1e6


def _summed(times: list[dict[str, float]]) -> dict[str, tuple[float, float]]:
    """Median and minimum of each kind."""
    return {kind: (median(each[kind] for each in times), min(each[kind] for each in times)) for kind in times[0]}


def _report(
    contenders: list[Contender], figures: dict[str, dict[str, tuple[float, float]]], rounds: int
) -> Measurement:
    def added(name: str, which: int) -> float | None:
        full = figures[name].get("full")
        return full[which] - figures["persistent"]["held"][which] if full and name not in bare else None

    bare = {each.name for each in contenders if not isinstance(each, Django)}
    native = [added("native", which) or 1.0 for which in (0, 1)]
    rows: list[list[Any]] = []
    for each in contenders:
        got, more = figures[each.name], added(each.name, 0)
        cells = [got[kind][which] if kind in got else None for kind in ("held", "full", "query") for which in (0, 1)]
        rows.append([each.label, *cells, more, None if more is None else more / native[0]])
    targets = []
    for each in (SESSION, TRANSACTION):
        words = each.label.strip("*") + (" (per statement)" if each is TRANSACTION else "")
        for which, kind in ((0, "medians"), (1, "minima")):
            targets.append(
                Target(f"{words}: added, of the native pool's ({kind})", added(each.name, which) / native[which], 0.5)
            )  # type: ignore[operator]
        checked = added("native_checked", 0) or 1.0
        targets.append(
            Target(
                f"{words}: added, of the native pool's with health checks (medians)",
                (added(each.name, 0) or 0) / checked,
                0.05,
            )
        )
    return Measurement(
        "What checkout and return add to a cursor",
        f"Microseconds, one thread, a pool of {SIZE}; medians and minima of {rounds} rounds. *Held*: a cursor on a connection"
        " that is held already (in `atomic()` for those that return after each statement). *Full*: checkout, cursor, return:"
        " `with connection.cursor(): pass` and `connection.close()`, without the `close()` for those that return after each"
        " statement; the bare pools check out and return without a cursor. *SELECT 1*: the same with a query and its row."
        " *Added*: full less the persistent connection's held cursor.",
        ["", "held", "min", "full", "min", "SELECT 1", "min", "added", "of native's"],
        rows,
        targets,
    )
