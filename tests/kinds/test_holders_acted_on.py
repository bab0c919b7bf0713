"""A checkout is found by the name that its holder has, its statement is cancelled, its session ended: that one and no other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import psycopg
import pytest
from sqlalchemy.util import greenlet_spawn

from poolmgr.exceptions import CheckoutError
from poolmgr.pools.checkouts import OVER, Checkout, LeftAlone
from poolmgr.pools.labels import Label, labelled
from poolmgr.pools.owners import innermost
from tests import pools
from tests.kinds.async_subjects import AsyncAlchemy, Asyncpg, AsyncPostgres, InALoop
from tests.kinds.subjects import Alchemy, Postgres, Subject
from tests.sampling import with_all
from tests.threads import Begun
from tests.waiting import until

SLEEP = "SELECT pg_sleep(60)"
#: One on each core.
SQL: list[Any] = [Postgres, Asyncpg, *with_all(AsyncPostgres, Alchemy, AsyncAlchemy)]


@pytest.fixture(params=SQL, ids=lambda cls: cls.__name__)
def sql(request: pytest.FixtureRequest, postgres: Any) -> Iterator[Subject]:
    made = request.param(pools.emptied(postgres.create_database("kinds")))
    yield made
    made.kill()
    made.close()


def run(subject: Subject, conn: Any, statement: str) -> None:
    """Until it comes to its end."""
    if isinstance(subject, Alchemy):
        if isinstance(subject, InALoop):
            subject.loop.do(lambda: greenlet_spawn(lambda: conn.cursor().execute(statement)))
        else:
            conn.cursor().execute(statement)
    elif isinstance(subject, InALoop):
        subject.loop.do(lambda: conn.execute(statement))
    else:
        conn.execute(statement)


def found(subject: Subject) -> Checkout:
    """The only checkout."""
    [holder] = subject.pool.snapshot().holders
    checkout: Checkout | None = subject.pool.find_checkout(holder.checkout)
    assert checkout is not None
    return checkout


def states(subject: Subject, state: str) -> tuple[str, ...]:
    """What a holder may be said to be at; below SQLAlchemy asyncpg doesn't tell."""
    return ("",) if isinstance(subject, AsyncAlchemy) else (state,)


def begin(subject: Subject, conn: Any, statement: str = SLEEP) -> Begun:
    """Have the server run it: it does when this returns."""
    begun = Begun(lambda: run(subject, conn, statement))
    with psycopg.connect(subject.url, autocommit=True, application_name=pools.ONLOOKER) as look:
        query = (
            "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query ~ 'pg_sleep' AND pid <> pg_backend_pid()"
        )
        until(lambda: look.execute(query).fetchone(), "the statement")
    return begun


def test_holder_s_checkout_is_found_by_its_name_until_it_is_over(any_subject: Subject) -> None:
    any_subject.open(max_size=2)
    with labelled(Label("view", "GET /a/")):
        held = any_subject.hold(1)
    one = found(any_subject)
    assert one.holder.label == "GET /a/"
    assert any("test_holders_acted_on" in call or "async_subjects" in call for call in innermost(one.owner, 50, 20_000))
    any_subject.give_all_back(held)
    assert any_subject.pool.find_checkout(one.holder.checkout) is None
    held = any_subject.hold(1)  # perhaps the same connection
    assert found(any_subject).holder.checkout != one.holder.checkout
    for nonsense in ("", "1", "0.0", "x" * 1000):
        assert any_subject.pool.find_checkout(nonsense) is None
    any_subject.give_all_back(held)


def test_statement_is_cancelled_and_its_connection_serves_on(sql: Subject) -> None:
    sql.open(max_size=1)
    with suppress(*sql.breaks), sql.borrowed() as conn:
        pid = sql.use(conn)
        running = begin(sql, conn)
        one = found(sql)
        assert one.holder.state in states(sql, "running")
        one.cancel()
        error = running.end()
        assert "canceling statement due to user request" in str(error)
        with suppress(*sql.breaks):
            run(sql, conn, "ROLLBACK")  # where the library has begun a transaction
        assert sql.use(conn) == pid
    with sql.borrowed() as conn:
        assert sql.use(conn) == pid
    assert sql.pool.snapshot().created == 1


def test_session_that_lies_idle_in_a_transaction_is_ended_and_replaced(sql: Subject) -> None:  # P7
    sql.open(max_size=1)
    with suppress(*sql.breaks, CheckoutError), sql.borrowed() as conn:
        pid = sql.use(conn)
        run(sql, conn, "BEGIN")
        assert found(sql).holder.state in states(sql, "in transaction")
        one = found(sql)
        one.end()
        # The library may have heard of the end by now, and has given it back then.
        with pytest.raises(LeftAlone, match=r"ended already|was over by then"):
            one.end()
        assert {holder.state for holder in sql.pool.snapshot().holders} <= {"ended"}
        until(lambda: pid not in sql.ends(), "the end of the session")
        with pytest.raises(sql.breaks):
            sql.use(conn)
    until(lambda: serves_another(sql, pid))
    assert sql.pool.snapshot().used == 0


def serves_another(subject: Subject, pid: int) -> bool:
    with suppress(*subject.breaks, CheckoutError), subject.borrowed() as conn:
        return subject.use(conn) != pid
    return False


@pytest.mark.long
def test_session_is_ended_in_the_middle_of_its_statement_which_stops_too(sql: Subject) -> None:
    sql.open(max_size=1)
    with suppress(*sql.breaks), sql.borrowed() as conn:
        running = begin(sql, conn)
        found(sql).end()
        assert isinstance(running.end(), Exception)
    until(lambda: serves(sql))
    assert not [row for row in sql.told(sql.ends()) if "pg_sleep" in row[-1]]


def serves(subject: Subject) -> bool:
    with suppress(*subject.breaks, CheckoutError), subject.borrowed() as conn:
        return subject.use(conn) > 0
    return False


@pytest.mark.long
def test_order_for_a_checkout_that_is_over_touches_nobody(sql: Subject) -> None:
    sql.open(max_size=1)
    with sql.borrowed() as conn:
        sql.use(conn)
        over = found(sql)
    with suppress(*sql.breaks), sql.borrowed() as conn:
        running = begin(sql, conn)
        for order in (over.cancel, over.end):
            with pytest.raises(LeftAlone, match=OVER):
                order()
        assert not running.outcome
        found(sql).cancel()
        running.end()


@pytest.mark.long
def test_connection_that_comes_back_while_a_cancel_is_on_its_way_is_lent_to_nobody(sql: Subject) -> None:  # P6
    sql.open(sql.through_proxy, max_size=1, connection_timeout=20.0)
    conn = sql.borrow()
    pid = sql.use(conn)
    running = begin(sql, conn, "SELECT pg_sleep(0.3)")
    sql.proxy.delay = 1.0  # of what connects from now on, as whoever cancels does
    accepted = sql.proxy.accepted
    ordered = Begun(found(sql).cancel)
    until(lambda: sql.proxy.accepted > accepted, "the request")
    running.end()
    sql.give_back(conn)
    with sql.borrowed() as conn:
        run(sql, conn, "SELECT pg_sleep(1.2)")  # which the request would stop
        assert sql.use(conn) != pid
    assert ordered.end() is None


@pytest.mark.long
def test_cancel_that_never_arrives_says_so_and_its_connection_is_replaced(sql: Subject) -> None:
    sql.open(sql.through_proxy, max_size=1, connection_timeout=20.0)
    with sql.borrowed() as conn:
        pid = sql.use(conn)
        running = begin(sql, conn, "SELECT pg_sleep(0.7)")
        sql.proxy.refuse()
        with pytest.raises(LeftAlone, match="has not taken the request"):
            found(sql).cancel()
        sql.proxy.accept()
        running.end()
        assert sql.use(conn) == pid  # it is its borrower's still
    with sql.borrowed() as conn:
        assert sql.use(conn) != pid


@pytest.mark.long
def test_what_a_kind_cannot_do_it_says(any_subject: Subject) -> None:
    any_subject.open(max_size=1)
    denies = any_subject.kind.denies
    held = any_subject.hold(1)
    if "cancel" in denies:
        with pytest.raises(LeftAlone, match=denies["cancel"][:20]):
            found(any_subject).cancel()
        assert denies["end"]
    any_subject.give_all_back(held)


@pytest.mark.long
def test_statement_is_cancelled_at_a_server_that_has_no_slot_left(make_postgres: Any) -> None:
    server = make_postgres(max_connections=8, superuser_reserved_connections=0)
    subject = Postgres(server.create_database("full"))
    subject.open(max_size=1)
    try:
        with suppress(*subject.breaks), subject.borrowed() as conn, ExitStack() as stack:
            running = begin(subject, conn)
            with pytest.raises(psycopg.OperationalError, match=r"too many clients|remaining connection slots"):
                for _ in range(20):
                    stack.enter_context(psycopg.connect(subject.url))
            found(subject).cancel()
            assert "canceling statement" in str(running.end())
    finally:
        subject.close()


@pytest.mark.long
@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_behind_a_pgbouncer_too(make_bouncer: Any, mode: str) -> None:
    bouncer = make_bouncer({"app": ""}, pool_mode=mode)
    for cls in (Postgres, Asyncpg):
        subject = cls(bouncer.url("app"))
        try:
            subject.open(max_size=1)
            conn = subject.borrow()
            running = Begun(lambda: run(subject, conn, SLEEP))  # noqa: B023
            until(lambda: stopped(subject, running), "the cancel")  # noqa: B023
            assert "canceling statement" in str(running.end())
            assert subject.use(conn) > 0
            run(subject, conn, "BEGIN")
            found(subject).end()
            with pytest.raises(subject.breaks):
                until(lambda: not subject.use(conn), timeout=5)  # noqa: B023
            with suppress(*subject.breaks, CheckoutError):
                subject.give_back(conn)
            until(lambda: serves(subject))  # noqa: B023
        finally:
            subject.pool.close(2)
            subject.close()


def stopped(subject: Subject, running: Begun) -> bool:
    with suppress(LeftAlone):  # it had not begun yet
        found(subject).cancel()
    return bool(running.outcome)
