"""Every way to hold a connection, while other threads compete for a pool of one or two.

Each scenario is a case of test_backend.py made small. It says where it holds a connection, so that a second owner is
noticed; each round begins with a look for what somebody else may have left. A scenario never needs a second connection
while it holds one: in a pool of one it would wait for itself.
"""

import gc
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from itertools import islice
from random import Random
from typing import Any

import psycopg
import pytest
from django.conf import settings as site
from django.db import DatabaseError, InterfaceError, connection, transaction
from django.db.backends.signals import connection_created
from django.test.utils import CaptureQueriesContext

import poolmgr
from poolmgr.targets.postgresql.managed import ManagedPool
from poolsite.docsearch.embedding import DIMENSIONS
from poolsite.docsearch.models import Document
from tests.integration.backend import Competitor, Scenario, backend_pid, compete, is_held, query
from tests.pools import LOCKS, backends
from tests.sampling import first_always, with_all
from tests.stress.actions import TRACES
from tests.waiting import until

pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")

THREADS = 4
ROUNDS = 10
LINES = list(range(10))

#: Each mode and each size; with --all, each of one with each of the other.
each_pool = pytest.mark.parametrize(
    ("mode", "size"),
    [("session", 1), ("transaction", 2), *with_all(("session", 2), ("transaction", 1))],
)


def lines() -> Iterator[int]:
    """Rows of a server-side cursor, in three chunks."""
    return Document.objects.order_by("line").values_list("line", flat=True).iterator(chunk_size=4)


def write(me: Competitor) -> None:
    query("INSERT INTO contended VALUES (%s)", me.token)


def written(me: Competitor) -> int:
    return int(query("SELECT count(*) FROM contended WHERE token = %s", me.token)[0][0])


# -- the scenarios: iterators and cursors ---------------------------------------------------------------------------------


def an_iterator_read_to_its_end(me: Competitor) -> None:
    rows = lines()
    seen = [next(rows)]
    with me.holding("cursor"):
        seen += islice(rows, 6)
    assert [*seen, *rows] == LINES


def an_iterator_left_early(me: Competitor) -> None:
    for _ in lines():
        with me.holding("cursor"):
            pass
        break


def an_iterator_that_the_garbage_collector_finds(me: Competitor) -> None:
    rows = lines()
    next(rows)
    cycle: list[Any] = [rows]
    cycle.append(cycle)
    with me.holding("cursor"):
        pass
    del rows, cycle
    if me.mode == "transaction":
        # Another thread's collector may find it first, and leaves it to the next statement to give back.
        until(lambda: (gc.collect(), query()) and not is_held(), "the cursor to be collected")
    else:
        gc.collect()
        # The collector tells the server nothing: the cursor is for the pool to clean.
        me.end()
        me.arrive()


def an_iterator_finalised_inside_atomic(me: Competitor) -> None:
    rows = lines()
    next(rows)
    with transaction.atomic():
        write(me)
        with me.holding("transaction", "cursor"):
            del rows
        with me.holding("transaction"):
            write(me)
        transaction.set_rollback(True)
    assert written(me) == 0


def an_iterator_that_outlives_its_transaction(me: Competitor) -> None:
    with transaction.atomic():
        rows = lines()
        next(rows)
        with me.holding("cursor") as pid:
            pass
    # Its cursor ended with the transaction; to close it must spoil no later one.
    with transaction.atomic():
        write(me)
        with me.holding("transaction") as again:
            rows.close()  # type: ignore[attr-defined]
        assert again == pid
    assert written(me) == 1


def atomic_inside_an_open_iterator(me: Competitor) -> None:
    seen = []
    for line in lines():
        with transaction.atomic():
            write(me)
            if line == 5:
                with me.holding("transaction", "cursor"):
                    pass
        seen.append(line)
    assert seen == LINES
    assert written(me) == len(LINES)


def named_cursors_read_in_turns(me: Competitor) -> None:
    with closing(connection.chunked_cursor()) as up, closing(connection.chunked_cursor()) as down:
        up.execute("SELECT generate_series(1, 9)")
        down.execute("SELECT generate_series(9, 1, -1)")
        for number in (1, 4, 7):
            with me.holding("cursor"):
                assert up.fetchmany(3) == [(number,), (number + 1,), (number + 2,)]
                assert down.fetchmany(3) == [(10 - number,), (9 - number,), (8 - number,)]


def cursors_closed_in_turn(me: Competitor) -> None:
    with connection.cursor() as outer:
        outer.execute("SELECT %s", [me.token])
        with connection.cursor() as inner:
            inner.execute("SELECT 2")
            with me.holding() as pid:
                pass
        with me.holding() as again:
            assert outer.fetchone() == (me.token,)
        assert again == pid


def cursors_closed_out_of_order(me: Competitor) -> None:
    outer, inner = connection.cursor(), connection.cursor()
    outer.execute("SELECT 1")
    inner.execute("SELECT %s", [me.token])
    outer.close()
    with me.holding() as pid:
        assert inner.fetchone() == (me.token,)
        inner.execute("SELECT pg_backend_pid()")
        assert inner.fetchone() == (pid,)
    inner.close()


def a_cursor_that_nobody_closes(me: Competitor) -> None:
    cursor = connection.cursor()
    cursor.execute("SELECT %s", [me.token])
    with me.holding():
        pass
    assert cursor.fetchone() == (me.token,)
    del cursor


def a_named_cursor_that_nobody_closes(me: Competitor) -> None:
    cursor = connection.chunked_cursor()
    cursor.execute("SELECT generate_series(1, 100)")
    with me.holding("cursor"):
        assert cursor.fetchmany(2) == [(1,), (2,)]
    del cursor
    # The server has it still, but the next borrower must not.
    me.end()
    me.arrive()


def cursors_kept_beyond_their_checkout(me: Competitor) -> None:
    plain, named = connection.cursor(), connection.chunked_cursor()
    plain.execute("SELECT 1")
    named.execute("SELECT generate_series(1, 100)")
    with me.holding("cursor"):
        named.fetchmany(1)
    me.end()
    for attempt in (lambda: plain.execute("SELECT 1"), lambda: named.fetchmany(1)):
        with pytest.raises(InterfaceError, match="went back to the pool"):
            attempt()
    plain.close()
    with transaction.atomic(), me.holding():
        # Whoever has that connection now is in the middle of something.
        named.close()


# -- the scenarios: transactions ------------------------------------------------------------------------------------------


def atomic_blocks_inside_each_other(me: Competitor) -> None:
    with transaction.atomic():
        write(me)
        with me.holding("transaction"):
            with pytest.raises(ZeroDivisionError), transaction.atomic():
                write(me)
                _ = 1 / 0
            with transaction.atomic():
                write(me)
    assert written(me) == 2


def manual_transactions(me: Competitor) -> None:
    transaction.set_autocommit(False)
    try:
        write(me)
        with me.holding("transaction") as pid:
            transaction.commit()
            assert is_held()
            write(me)
        assert backend_pid() == pid
        transaction.rollback()
        assert is_held()
        with me.holding() as again:
            assert again == pid
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)
    assert written(me) == 1


def a_raw_begin_that_is_committed(me: Competitor) -> None:
    query("BEGIN")
    with me.holding("transaction"):
        write(me)
        # A cursor that comes and goes takes nothing along.
        assert list(lines()) == LINES
    query("COMMIT")
    assert written(me) == 1


def a_raw_begin_that_is_left_open(me: Competitor) -> None:
    query("BEGIN")
    with me.holding("transaction"):
        write(me)
    me.end()
    me.arrive()
    assert written(me) == 0


def a_raw_begin_that_only_reads(me: Competitor) -> None:
    query("BEGIN")
    with me.holding():
        assert list(lines()) == LINES
    # For the next one to find, unless the pool rolls it back.
    me.end()
    me.arrive()


def hooks_that_query(me: Competitor) -> None:
    seen: list[Any] = []

    def hook() -> None:
        seen.append(is_held())
        with transaction.atomic():
            write(me)
            with me.holding("transaction"):
                seen.append(written(me))

    with transaction.atomic():
        write(me)
        transaction.on_commit(hook)
        with me.holding("transaction"):
            pass
    assert seen == [me.mode == "session", 2]
    assert written(me) == 2


def hooks_that_raise(me: Competitor) -> None:
    def failing() -> None:
        query()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), transaction.atomic():
        write(me)
        transaction.on_commit(failing)
        with me.holding("transaction"):
            pass
    assert is_held() is (me.mode == "session")
    assert written(me) == 1


def an_error_inside_atomic(me: Competitor) -> None:
    with pytest.raises(DatabaseError, match="no_such_column"), transaction.atomic():
        write(me)
        with me.holding("transaction"):
            pass
        query("SELECT no_such_column")
    assert is_held() is (me.mode == "session")
    assert written(me) == 0


def an_error_that_a_savepoint_contains(me: Competitor) -> None:
    with transaction.atomic():
        write(me)
        with me.holding("transaction"), pytest.raises(DatabaseError, match="no_such_column"), transaction.atomic():
            write(me)
            query("SELECT no_such_column")
        with me.holding("transaction"):
            pass
    assert written(me) == 1


def an_error_outside_atomic(me: Competitor) -> None:
    with pytest.raises(DatabaseError, match="no_such_column"):
        query("SELECT no_such_column")
    assert is_held() is (me.mode == "session")
    write(me)
    assert written(me) == 1


# -- the scenarios: state and third parties -------------------------------------------------------------------------------


def session_state_that_pins(me: Competitor) -> None:
    kinds = [name for name in TRACES if name != "transaction"]
    pids = set()
    for step in (0, 4):
        # Of different kinds in each round, for the others to find.
        name = kinds[(me.number + step) % len(kinds)]
        me.mine.add(name)
        query(TRACES[name][0].format(token=me.token, number=next(me.world.numbers)))
        with me.holding() as pid:
            pids.add(pid)
    assert len(pids) == 1
    me.end()
    me.arrive()


def state_that_only_pinned_protects(me: Competitor) -> None:
    with poolmgr.pinned():
        me.mine.add("custom")
        query("SELECT remember(%s)", me.token)
        with me.holding() as pid, poolmgr.pinned():
            query()
        with me.holding() as again:
            assert query("SELECT current_setting('app.owner')") == [(me.token,)]
        assert again == pid
    if me.mode == "session":
        me.end()
    me.mine.clear()
    me.arrive()


def ensure_connection_by_third_parties(me: Competitor) -> None:
    connection.ensure_connection()
    theirs = connection.connection
    with me.world.owning(theirs.info.backend_pid, me.token):
        assert theirs.execute("SELECT pg_backend_pid()").fetchone() == (theirs.info.backend_pid,)
        assert connection.connection is theirs
    query()


def debug_cursors_and_execute_wrappers(me: Competitor) -> None:
    wrapped: list[str] = []

    def wrapper(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        wrapped.append(sql)
        return execute(sql, params, many, context)

    mine = [f"SELECT '{me.token}', {number}" for number in range(3)]
    with CaptureQueriesContext(connection) as captured, connection.execute_wrapper(wrapper):
        for statement in mine:
            assert query(statement)[0][0] == me.token
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            with me.holding():
                pass
    # Two looks besides.
    assert [each["sql"] for each in captured][:3] == wrapped[:3] == mine
    assert len(captured) == len(wrapped) == 6


SCENARIOS: list[Scenario] = [
    an_iterator_read_to_its_end,
    an_iterator_left_early,
    an_iterator_that_the_garbage_collector_finds,
    an_iterator_finalised_inside_atomic,
    an_iterator_that_outlives_its_transaction,
    atomic_inside_an_open_iterator,
    named_cursors_read_in_turns,
    cursors_closed_in_turn,
    cursors_closed_out_of_order,
    a_cursor_that_nobody_closes,
    a_named_cursor_that_nobody_closes,
    cursors_kept_beyond_their_checkout,
    atomic_blocks_inside_each_other,
    manual_transactions,
    a_raw_begin_that_is_committed,
    a_raw_begin_that_is_left_open,
    a_raw_begin_that_only_reads,
    hooks_that_query,
    hooks_that_raise,
    an_error_inside_atomic,
    an_error_that_a_savepoint_contains,
    an_error_outside_atomic,
    session_state_that_pins,
    state_that_only_pinned_protects,
    ensure_connection_by_third_parties,
    debug_cursors_and_execute_wrappers,
]


# -- the pool they compete for --------------------------------------------------------------------------------------------


@pytest.fixture
def contended(small_pool: Callable[..., ManagedPool], postgres: Any, caplog: pytest.LogCaptureFixture) -> Any:
    """``with contended(mode, size) as pool``: nothing is checked out, lost or replaced when the block is over."""
    url = postgres.url(str(site.DATABASES["default"]["NAME"]))

    @contextmanager
    def make(mode: str, size: int) -> Iterator[ManagedPool]:
        pool = small_pool(mode, max_size=size, connection_timeout=30.0)
        before = pool.snapshot()
        yield pool
        until(lambda: pool.snapshot().idle == pool.snapshot().size, "every connection to come back", 5)
        until(lambda: backends(url) == set(pool.snapshot().backend_pids), "the server to agree", 10)
        seen = pool.snapshot()
        assert 1 <= seen.size <= size
        assert (seen.used, seen.pending) == (0, 0)
        assert (seen.timeouts, seen.reclaimed) == (before.timeouts, before.reclaimed)
        # All had to make do with the same connections.
        assert seen.closed == before.closed
        assert seen.created - before.created <= size
        with psycopg.connect(url) as console:
            assert console.execute(LOCKS).fetchone() == (0,)
            busy = "SELECT state, query FROM pg_stat_activity WHERE pid = ANY(%s) AND state <> 'idle'"
            assert console.execute(busy, [list(seen.backend_pids)]).fetchall() == []
        assert [
            each for each in caplog.records if each.name.startswith("poolmgr") and each.levelno > logging.INFO
        ] == []

    with psycopg.connect(url, autocommit=True) as console:
        console.execute(
            "CREATE TABLE contended (token text);"
            "CREATE FUNCTION remember(text) RETURNS void LANGUAGE sql"
            " AS $$ SELECT set_config('app.owner', $1, false) $$"
        )
    Document.objects.bulk_create(
        Document(module="m", qualname=str(line), line=line, embedding=[0.5] * DIMENSIONS) for line in LINES
    )
    connection.close()
    yield make
    with psycopg.connect(url, autocommit=True) as console:
        # Not to wait for ever for what a thread that hangs has locked.
        console.execute("SET lock_timeout = '5s'; DROP TABLE contended; DROP FUNCTION remember")


Contended = Callable[[str, int], AbstractContextManager[ManagedPool]]

# -- the tests ------------------------------------------------------------------------------------------------------------


# In session mode every run has them beside each other, below.
@pytest.mark.long
@pytest.mark.parametrize(
    ("mode", "size"), first_always(("transaction", 2), ("session", 1), ("session", 2), ("transaction", 1))
)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=[each.__name__ for each in SCENARIOS])
def test_who_competes_has_a_connection_alone_and_leaves_nothing_on_it(  # P2 P3 P4
    contended: Contended, mode: str, size: int, scenario: Scenario
) -> None:
    with contended(mode, size):
        compete(mode, [[scenario] * ROUNDS] * THREADS)


@each_pool
def test_work_of_every_kind_meets_work_of_every_other(contended: Contended, mode: str, size: int) -> None:  # P2 P3 P4
    # In an order of its own for each thread, and the same in each run.
    turns = [Random(number).sample(SCENARIOS * 2, 2 * len(SCENARIOS)) for number in range(THREADS)]
    with contended(mode, size):
        compete(mode, turns)


@contextmanager
def listening(receiver: Callable[..., None]) -> Iterator[None]:
    connection_created.connect(receiver)
    try:
        yield
    finally:
        connection_created.disconnect(receiver)


class Greeter:
    """Sets something on each connection that it is told of, and counts how often it was told of which."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.greeted: Counter[int] = Counter()

    def __call__(self, connection: Any, **kwargs: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET application_name = 'greeted'")
        with self.lock:
            self.greeted[connection.connection.info.backend_pid] += 1


@each_pool
def test_connection_created_fires_once_for_each_connection_whoever_takes_it_first(  # P3
    contended: Contended, mode: str, size: int
) -> None:
    greeter, seen = Greeter(), set()

    def finds_it_greeted(me: Competitor) -> None:
        with connection.cursor() as cursor, me.holding() as pid:
            cursor.execute("SHOW application_name")
            assert cursor.fetchone() == ("greeted",)
            seen.add(pid)

    with contended(mode, size) as pool, listening(greeter):
        compete(mode, [[finds_it_greeted] * ROUNDS] * THREADS)
        assert greeter.greeted == dict.fromkeys(seen, 1)
    # What it has set stays with the connections, and other tests go by their names.
    pool.recycle(10)
