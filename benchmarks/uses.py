"""What it costs to know for whom connections are used and what for, and how well marks and samples know it."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from time import monotonic, perf_counter, thread_time
from typing import Any

from psycopg.pq import TransactionStatus

from benchmarks.contenders import SESSION
from benchmarks.report import Measurement, Target, in_rounds, median
from poolmgr.backends.postgresql.cursors import Reporting
from poolmgr.backends.postgresql.watched import WatchedConnection
from poolmgr.backends.postgresql.wrapping import CursorMaking
from poolmgr.pools.labels import Label, labelled, set_label
from poolmgr.pools.uses import Uses
from poolmgr.targets.postgresql import managed
from tests.pools import managed_pool

#: Of a class, by name, what stands in for it.
Methods = dict[tuple[type, str], Any]
TIMES = 200
#: What the ledger and the labels may add to a checkout, in microseconds; to the borrower's own part of it; and to a span.
LIMIT, HOT, SPAN = 1.0, 0.3, 0.23
#: Lines of a method, and what stands in their place where they are left out.
Lines = dict[tuple[type, str], dict[str, str]]
_LABELS: Lines = {
    (managed.ManagedPool, "checkout"): {
        "owner, label = self.current_owner(), current_label()": "owner = self.current_owner()",
        "entry.label = label": "pass",
    },
}
_LEDGER: Lines = {
    (managed.ManagedPool, "checkout"): {
        "entry.cursors = entry.doing = 0": "pass",
        "entry.sql = entry.kept = 0.0": "pass",
        "entry.noted = None": "pass",
    },
    (managed.ManagedPool, "put_back"): {
        "self.use_time.add(held := now - entry.since)": "self.use_time.add(now - entry.since)",
        "kept = entry.kept + now - entry.marked if entry.doing else entry.kept": "pass",
        "self.uses.add((entry.label, held, entry.sql, kept, entry.noted, True))": "pass",
    },
}
_MARKS: Lines = {
    (CursorMaking, "create_cursor"): {"if self._keeps:": "if False:"},
    (Reporting, "_report"): {"entry.doing == KEPT\n": "False\n"},
    (WatchedConnection, "wait"): {
        "if args or kwargs or entry is None:": "if not args and not kwargs: return super(PooledConnection, self).wait(gen)\n"
        "    else:",
    },
}
_WAYS = {"bare": (_LABELS, _LEDGER), "labels": (_LEDGER,), "all": ()}
#: Seconds of computing between two statements, of each statement, and between two samples.
_COMPUTES, _ASKS, _SAMPLED = 0.002, 0.001, 0.01


def measure(world: Any) -> Measurement:
    rounds = 40 if world.quick else 400
    pool = managed_pool(world.url, max_size=2)
    SESSION.open(world.url, 1, 2)
    ways = {name: _without(*left_out) for name, left_out in _WAYS.items()}
    with labelled(Label("view", "GET /shop/<slug:name>/", "8f3a")):
        pool.put_back(pool.checkout())
        costs = _by_way(ways, rounds, lambda: _checkouts(pool))
        marks = _by_way({"bare": _without(_MARKS), "all": _without()}, rounds, _statements)
    parts = in_rounds([_counting, _label], rounds, lambda part: part())
    count, label = map(_both, parts)
    truth = _who_knows(pool, 1.0 if world.quick else 6.0)
    pool.close()
    SESSION.leave()
    SESSION.close()
    return _report(costs, marks, count, label, truth, rounds)


def _by_way(ways: dict[str, Methods], rounds: int, work: Callable[[], float]) -> dict[str, list[float]]:
    def one(methods: Methods) -> float:
        before = {(cls, name): cls.__dict__[name] for cls, name in methods}
        for (cls, name), method in methods.items():
            setattr(cls, name, method)
        try:
            work()  # what the interpreter has learnt of the others is not true of these
            return work()
        finally:
            for (cls, name), method in before.items():
                setattr(cls, name, method)

    return dict(zip(ways, in_rounds([*ways.values()], rounds, one), strict=True))


def _without(*lines: Lines) -> Methods:
    """The methods without these lines."""
    left_out: Lines = {}
    for each in lines:
        for place, given in each.items():
            left_out[place] = {**left_out.get(place, {}), **given}
    return {(cls, name): _stripped(cls, name, given) for (cls, name), given in left_out.items()}


def _stripped(cls: type, name: str, lines: dict[str, str]) -> Any:
    method = cls.__dict__[name]
    text = textwrap.dedent(inspect.getsource(method))
    for line, instead in lines.items():
        assert text.count(line) == 1, f"{name} has no line {line!r}"
        text = text.replace(line, instead)
    there: dict[str, Any] = {}
    exec(
        compile(text.replace("super()", f"super({cls.__name__}, self)"), f"<{name}>", "exec"), method.__globals__, there
    )
    return there[name]


def _checkouts(pool: Any) -> float:
    began = thread_time()
    for _ in range(TIMES):
        pool.put_back(pool.checkout())
    return (thread_time() - began) / TIMES * 1e6


def _statements() -> float:
    """A cursor on a connection that is held, and psycopg's way to the server and back without the server."""
    connection = SESSION.connection
    with connection.cursor():
        pass
    conn = connection.connection
    began = thread_time()
    for _ in range(TIMES):
        with connection.cursor():
            conn.wait(_nothing())
    taken = (thread_time() - began) / TIMES * 1e6
    connection.close()
    return taken


def _nothing() -> Iterator[Any]:
    return
    yield


def _counting() -> float:
    """What is noted is counted once a second, for all checkouts since: of a busy second, ten labels."""
    uses = Uses(splits=True)
    labels = [Label("view", f"GET /{number}/") for number in range(10)]
    for number in range(2000):
        uses.add((labels[number % 10], number / 1e5, number / 2e5, 0.0, None, True))
    now = monotonic()
    began = thread_time()
    uses.count(now)
    return (thread_time() - began) / 2000 * 1e6


def _label() -> float:
    """Once a request, whatever it checks out."""
    name = "GET /shop/<slug:name>/"
    began = thread_time()
    for _ in range(TIMES):
        set_label(Label("view", name, "8f3a"))
    taken = thread_time() - began
    set_label(None)
    return taken / TIMES * 1e6


# -- who knows ------------------------------------------------------------------------------------------------------------


def _who_knows(pool: Any, seconds: float) -> dict[str, float]:
    """The share of SQL in what a thread holds that computes between statements: by a clock around each, by the marks, and
    by a thread that looks now and then."""
    conn = pool.checkout()
    entry = conn.entry
    asked, began = 0.0, monotonic()
    with _sampling(conn) as samples:
        while monotonic() - began < seconds:
            before = monotonic()
            conn.execute(f"SELECT pg_sleep({_ASKS})")
            asked += monotonic() - before
            _compute(_COMPUTES)
    held, sql, _ = entry.spent(monotonic())
    pool.put_back(conn)
    return {"clock": asked / held, "marks": sql / held, "samples": sum(samples) / max(1, len(samples))}


def _compute(seconds: float) -> None:
    ends = perf_counter() + seconds
    while perf_counter() < ends:
        pass


@contextmanager
def _sampling(conn: Any) -> Iterator[list[bool]]:
    samples: list[bool] = []
    over = Event()

    def look() -> None:
        while not over.wait(_SAMPLED):
            samples.append(conn.pgconn.transaction_status == TransactionStatus.ACTIVE)

    thread = Thread(target=look)
    thread.start()
    try:
        yield samples
    finally:
        over.set()
        thread.join()


# -- the report -----------------------------------------------------------------------------------------------------------


def _both(times: list[float]) -> tuple[float, float]:
    return median(times), min(times)


def _added(costs: dict[str, list[float]], more: str, less: str) -> tuple[float, float]:
    """Of the rounds' differences the median, and the difference of the minima."""
    by_round = [a - b for a, b in zip(costs[more], costs[less], strict=True)]
    return median(by_round), min(costs[more]) - min(costs[less])


def _report(
    costs: dict[str, list[float]],
    marks: dict[str, list[float]],
    count: tuple[float, float],
    label: tuple[float, float],
    truth: dict[str, float],
    rounds: int,
) -> Measurement:
    labels, ledger = _added(costs, "labels", "bare"), _added(costs, "all", "labels")
    both = _added(costs, "all", "bare")
    whole = both[0] + count[0], both[1] + count[1]
    statement = _added(marks, "all", "bare")
    rows: list[list[Any]] = [
        ["checkout and return, with neither", *_both(costs["bare"])],
        ["checkout and return, as they are", *_both(costs["all"])],
        ["added by the label", *labels],
        ["added by the ledger", *ledger],
        ["counting what a checkout noted, once a second by the pool's thread", *count],
        ["**added by both, in all**", *whole],
        ["once a request: its label", *label],
        ["a cursor and a way to the server, without marks", *_both(marks["bare"])],
        ["added by the marks of a statement in session mode, two spans", *statement],
    ]
    targets = [
        Target("added by the ledger to checkout and return themselves (minima)", ledger[1], HOT, unit=" µs"),
        Target("added by ledger and labels in all (minima)", whole[1], LIMIT, unit=" µs"),
        Target("added by the marks, a span (minima)", statement[1] / 2, SPAN, unit=" µs"),
        Target("share of SQL by the marks: how far from a clock's", abs(truth["marks"] - truth["clock"]), 0.05),
    ]
    notes = [
        f"A thread that computes for {_COMPUTES * 1e3:g} ms between statements of {_ASKS * 1e3:g} ms was at the server for"
        f" {truth['clock']:.0%} of the time by a clock around each statement, for {truth['marks']:.0%} by the marks, and for"
        f" {truth['samples']:.0%} by a thread that looked every {_SAMPLED * 1e3:g} ms: that sees what there is when it gets"
        " the interpreter, and not when it would look."
    ]
    return Measurement(
        "What it costs to know for whom and what for",
        f"Microseconds of one thread's own time; medians and minima of {rounds} rounds of {TIMES}, in turns; what is added is"
        " the median of the rounds' differences, and the difference of the minima. The pool is bare, its borrower has a"
        " label. What is compared is the same code without the lines that keep label and ledger. Targets are for the minima,"
        " of rounds that nothing else on the machine was in the way of.",
        ["", "median", "min"],
        rows,
        targets,
        notes,
    )
