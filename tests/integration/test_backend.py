"""The Django backend, in session and in transaction mode: when a connection is taken, held, cleaned and given back."""

import gc
import itertools
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.core.signals import request_finished, request_started
from django.db import (
    DatabaseError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    connection,
    connections,
    transaction,
)
from django.db.backends.signals import connection_created
from django.db.transaction import TransactionManagementError
from django.test.utils import CaptureQueriesContext

import poolmgr
from poolmgr.exceptions import ModeError, PoolExhausted, ReleaseError
from poolmgr.pools import registry
from poolmgr.pools.lane import console_lane
from poolmgr.targets.postgresql.managed import ManagedPool
from poolsite.docsearch.models import Document
from tests.integration.backend import MODES, backend_pid, follow, is_held, query, run_in_thread
from tests.pools import LOCKS
from tests.waiting import until

Small = Callable[..., ManagedPool]
both = pytest.mark.parametrize("mode", MODES)


_names = itertools.count()


def documents(number: int) -> None:
    Document.objects.bulk_create(
        Document(
            module="m",
            qualname=f"m.{next(_names)}",
            kind="function",
            line=1,
            text="text",
            embedding=[0.5] * _dimensions(),
        )
        for _ in range(number)
    )


def _dimensions() -> int:
    return int(Document._meta.get_field("embedding").dimensions)  # type: ignore[union-attr]


# -- holding and giving back ----------------------------------------------------------------------------------------------


def test_session_mode_holds_from_the_first_query_to_the_close(small_pool: Small) -> None:
    pool = small_pool("session")
    before = pool.snapshot().checkouts
    query()
    assert is_held()
    query()
    assert pool.snapshot().checkouts == before + 1
    connection.close()
    assert pool.snapshot().used == 0


def test_transaction_mode_holds_nothing_between_statements(small_pool: Small) -> None:
    pool = small_pool("transaction")
    query()
    assert not is_held()
    run_in_thread(query)
    assert list(Document.objects.all()) == []
    assert not is_held()
    assert pool.snapshot().used == 0


def test_transaction_mode_holds_one_connection_for_a_transaction(small_pool: Small) -> None:
    small_pool("transaction", connection_timeout=0.2)
    with transaction.atomic():
        first = backend_pid()
        assert is_held()
        assert backend_pid() == first
        with pytest.raises(PoolExhausted):
            run_in_thread(query)
    assert not is_held()
    run_in_thread(query)


@both
def test_nested_atomic_blocks_commit_and_roll_back_as_ever(small_pool: Small, mode: str) -> None:
    small_pool(mode)
    with transaction.atomic():
        documents(1)
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            documents(5)
            _ = 1 / 0
        with transaction.atomic():
            Document.objects.create(
                module="m", qualname="second", kind="function", line=1, text="", embedding=[0.5] * _dimensions()
            )
    connection.close()
    assert run_in_thread(Document.objects.count) == 2


@both
def test_an_error_inside_atomic_rolls_back_and_gives_back(small_pool: Small, mode: str) -> None:  # P4
    pool = small_pool(mode)
    with pytest.raises(DatabaseError), transaction.atomic():
        documents(1)
        query("SELECT no_such_column")
    connection.close()
    assert pool.snapshot().used == 0
    assert run_in_thread(Document.objects.count) == 0


@both
def test_an_error_outside_atomic_gives_back(small_pool: Small, mode: str) -> None:  # P4
    pool = small_pool(mode)
    with pytest.raises(DatabaseError):
        query("SELECT no_such_column")
    if mode == "transaction":
        assert not is_held()
    query()
    connection.close()
    assert pool.snapshot().used == 0


@both
def test_iterator_holds_its_connection_until_it_is_exhausted(small_pool: Small, mode: str) -> None:
    small_pool(mode, connection_timeout=0.2)
    documents(30)
    connection.close()
    rows = Document.objects.order_by("id").iterator(chunk_size=10)
    next(rows)
    assert is_held()
    with pytest.raises(PoolExhausted):
        run_in_thread(query)
    assert len(list(rows)) == 29
    assert is_held() is (mode == "session")


@both
def test_an_abandoned_iterator_gives_back_when_it_is_collected(small_pool: Small, mode: str) -> None:  # P4
    small_pool(mode)
    documents(30)
    rows = Document.objects.iterator(chunk_size=10)
    next(rows)
    del rows
    gc.collect()
    assert is_held() is (mode == "session")
    connection.close()
    run_in_thread(query)


@both
def test_an_iterator_abandoned_inside_atomic_only_unpins(small_pool: Small, mode: str) -> None:  # P2
    small_pool(mode)
    documents(30)
    rows = Document.objects.iterator(chunk_size=10)
    next(rows)
    with transaction.atomic():
        pid = backend_pid()
        documents(1)
        del rows
        gc.collect()
        assert is_held()
        assert backend_pid() == pid
        transaction.set_rollback(True)
    assert run_in_thread(Document.objects.count) if mode == "transaction" else Document.objects.count() == 30


@both
def test_atomic_inside_an_open_iterator(small_pool: Small, mode: str) -> None:
    small_pool(mode)
    documents(30)
    seen = 0
    for document in Document.objects.iterator(chunk_size=10):
        with transaction.atomic():
            Document.objects.filter(pk=document.pk).update(text="seen")
            seen += 1
    assert seen == 30
    assert Document.objects.filter(text="seen").count() == 30
    assert is_held() is (mode == "session")


@both
def test_cursors_closed_out_of_order(small_pool: Small, mode: str) -> None:
    small_pool(mode)
    outer = connection.cursor()
    inner = connection.cursor()
    outer.execute("SELECT 1")
    inner.execute("SELECT 2")
    outer.close()
    assert is_held()
    assert inner.fetchone() == (2,)
    inner.execute("SELECT 3")
    assert inner.fetchone() == (3,)
    inner.close()
    assert is_held() is (mode == "session")


def test_an_unclosed_cursor_gives_back_when_it_is_collected(small_pool: Small) -> None:  # P4
    small_pool("transaction")
    cursor = connection.cursor()
    cursor.execute("SELECT 1")
    assert is_held()
    del cursor
    gc.collect()
    assert not is_held()


@both
def test_a_server_side_cursor_that_nobody_closed_is_wiped_before_the_next_borrower(  # P2
    small_pool: Small, mode: str
) -> None:
    small_pool(mode)
    cursor = connection.chunked_cursor()
    cursor.execute("SELECT generate_series(1, 100)")
    del cursor
    gc.collect()
    connection.close()
    assert run_in_thread(lambda: query("SELECT count(*) FROM pg_cursors")) == [(0,)]


def test_a_cursor_collected_in_another_thread_gives_back_at_the_next_chance(small_pool: Small) -> None:  # P4
    pool = small_pool("transaction", max_size=2)
    kept = [connection.cursor()]
    kept[0].execute("SELECT 1")
    thread = threading.Thread(target=kept.clear)
    thread.start()
    thread.join()
    assert is_held()
    query()
    assert not is_held()
    assert pool.snapshot().used == 0


@both
def test_a_cursor_kept_beyond_its_checkout_cannot_reach_the_next_borrower(small_pool: Small, mode: str) -> None:  # P3
    small_pool(mode)
    kept = connection.cursor()
    kept.execute("SELECT 1")
    named = connection.chunked_cursor()
    named.execute("SELECT generate_series(1, 100)")
    named.fetchmany(1)
    connection.close()
    with transaction.atomic():
        query()
        with pytest.raises(InterfaceError, match="went back to the pool"):
            kept.execute("SELECT 1")
        with pytest.raises(InterfaceError, match="went back to the pool"):
            named.fetchmany(1)
        kept.close()
        named.close()
        assert query("SELECT 7") == [(7,)]


@both
def test_manual_transactions_hold_across_commits_until_autocommit_is_back(small_pool: Small, mode: str) -> None:
    small_pool(mode)
    transaction.set_autocommit(False)
    try:
        pid = backend_pid()
        transaction.commit()
        assert is_held()
        assert backend_pid() == pid
        transaction.rollback()
        assert is_held()
    finally:
        transaction.set_autocommit(True)
    assert is_held() is (mode == "session")


@both
def test_a_raw_begin_holds_until_the_commit(small_pool: Small, mode: str) -> None:
    small_pool(mode)
    query("BEGIN")
    assert is_held()
    pid = backend_pid()
    documents_before = Document.objects.count()
    assert backend_pid() == pid
    query("COMMIT")
    assert is_held() is (mode == "session")
    assert Document.objects.count() == documents_before


def test_work_does_not_go_on_outside_of_a_raw_transaction_that_broke(small_pool: Small) -> None:  # P7
    """Code that ignores the error would commit, statement by statement, what it means to roll back."""
    small_pool("transaction", max_size=2)
    query("BEGIN")
    pid = backend_pid()
    run_in_thread(lambda: query("SELECT pg_terminate_backend(%s)", pid))
    for _ in range(3):
        with pytest.raises(OperationalError):
            query("SELECT 1")
    connection.close()
    assert query("SELECT 1") == [(1,)]
    assert not is_held()


@both
def test_on_commit_hooks_run_without_the_connection_and_may_query_or_raise(small_pool: Small, mode: str) -> None:
    pool = small_pool(mode)
    seen: list[Any] = []

    def hook() -> None:
        seen.append(is_held())
        seen.append(query("SELECT 5"))
        with transaction.atomic():
            documents(1)

    def failing() -> None:
        raise ZeroDivisionError

    with transaction.atomic():
        documents(1)
        transaction.on_commit(hook)
    assert seen == [mode == "session", [(5,)]]
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        documents(1)
        transaction.on_commit(failing)
    assert is_held() is (mode == "session")
    connection.close()
    assert pool.snapshot().used == 0
    assert run_in_thread(Document.objects.count) == 3


@both
def test_on_commit_hooks_may_be_the_first_on_a_new_connection(small_pool: Small, mode: str) -> None:  # P1
    pool = small_pool(mode)
    seen: list[Any] = []

    def hook() -> None:
        connection.close()
        pool.recycle()
        seen.append(query("SELECT 1"))

    with transaction.atomic():
        query()
        transaction.on_commit(hook)
        transaction.on_commit(hook)
    assert seen == [[(1,)]] * 2


def test_on_commit_outside_a_transaction_takes_no_connection(small_pool: Small) -> None:
    pool = small_pool("transaction")
    before = pool.snapshot().checkouts
    transaction.on_commit(lambda: None)
    assert pool.snapshot().checkouts == before
    assert not is_held()


@both
def test_connection_created_fires_once_for_each_physical_connection(small_pool: Small, mode: str) -> None:
    pool = small_pool(mode, max_size=1)
    connection.close()
    pool.recycle()
    fired: list[int] = []

    def created(connection: Any, **kwargs: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET application_name = 'set by a hook'")
        fired.append(connection.connection.info.backend_pid)

    connection_created.connect(created)
    try:
        for _ in range(3):
            assert query("SHOW application_name") == [("set by a hook",)]
            connection.close()
        [(pid,)] = query("SELECT pg_backend_pid()")
        connection.close()
        assert fired.count(pid) == 1
        # What a borrower sets is wiped together with what the hook set, so the hook runs again.
        query("SET application_name = 'mine'")
        connection.close()
        assert run_in_thread(lambda: query("SHOW application_name")) == [("set by a hook",)]
        assert fired.count(pid) == 2
    finally:
        connection_created.disconnect(created)


@both
def test_every_connection_is_greeted_again_after_a_new_extension(small_pool: Small, mode: str) -> None:
    """What listens to connection_created registers the extension's types, as Django does for hstore."""
    pool = small_pool(mode, max_size=2)
    greeted: list[int] = []

    def created(connection: Any, **kwargs: Any) -> None:
        greeted.append(connection.connection.info.backend_pid)

    connection_created.connect(created)
    try:
        with pool.connection(), pool.connection():
            before = pool.snapshot().cleaned
        query("CREATE EXTENSION IF NOT EXISTS vector")
        pid = backend_pid()
        other = run_in_thread(backend_pid)
        assert pid != other
        connection.close()
        until(lambda: pool.snapshot().cleaned > before, "the cleaning")
        greeted.clear()
        with transaction.atomic():
            again = backend_pid()
            assert {again, run_in_thread(backend_pid)} == {pid, other} == set(greeted)
    finally:
        connection_created.disconnect(created)


@both
def test_a_failing_connection_created_hook_leaks_nothing(small_pool: Small, mode: str) -> None:  # P4
    pool = small_pool(mode)
    connection.close()
    pool.recycle()

    def failing(**kwargs: Any) -> None:
        raise ZeroDivisionError

    connection_created.connect(failing)
    try:
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                query()
    finally:
        connection_created.disconnect(failing)
    assert pool.snapshot().used == 0
    query()


@both
def test_ensure_connection_by_third_parties_leaves_a_usable_connection(small_pool: Small, mode: str) -> None:
    small_pool(mode)
    connection.ensure_connection()
    assert connection.connection is not None
    assert connection.connection.info.backend_pid == backend_pid()
    assert is_held() is (mode == "session")


@both
def test_debug_cursors_and_execute_wrappers_see_every_query(small_pool: Small, mode: str) -> None:
    small_pool(mode)
    wrapped: list[str] = []

    def wrapper(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        wrapped.append(sql)
        return execute(sql, params, many, context)

    with CaptureQueriesContext(connection) as captured, connection.execute_wrapper(wrapper):
        query("SELECT 1")
        list(Document.objects.all())
    assert len(captured) == 2
    assert len(wrapped) == 2
    assert is_held() is (mode == "session")


# -- statement mode -------------------------------------------------------------------------------------------------------


def test_statement_mode_refuses_transactions_by_name(small_pool: Small) -> None:
    small_pool("statement")
    query()
    assert not is_held()
    for attempt in (
        lambda: transaction.atomic().__enter__(),
        lambda: transaction.set_autocommit(False),
        lambda: query("BEGIN"),
        lambda: query("/* sly */ START TRANSACTION"),
    ):
        with pytest.raises(ModeError, match="refused on database 'default': its pool_mode is statement"):
            attempt()
        assert not is_held()
        assert not connection.in_atomic_block
    assert list(Document.objects.all()) == []


# -- the mode of the work under way ---------------------------------------------------------------------------------------


def test_a_request_finishes_in_the_mode_that_it_began_with(small_pool: Small) -> None:  # P5
    small_pool("transaction")
    request_started.send(sender=None)
    query()
    assert not is_held()
    follow(pool_mode="session", max_size=1, min_size=0)
    query()
    assert not is_held()
    request_finished.send(sender=None)
    query()
    assert is_held()
    follow(pool_mode="transaction", max_size=1, min_size=0)
    query()
    assert is_held()
    connection.close()
    query()
    assert not is_held()


# -- state ----------------------------------------------------------------------------------------------------------------

STATE = [
    ("SET statement_timeout = 54321", "SHOW statement_timeout", [("0",)]),
    (
        "SELECT set_config('app.tenant', '7', false)",
        "SELECT coalesce(current_setting('app.tenant', true), '')",
        [("",)],
    ),
    ("CREATE TEMP TABLE mine (a int)", "SELECT to_regclass('pg_temp.mine')", [(None,)]),
    ("SELECT pg_advisory_lock(42)", LOCKS, [(0,)]),
    ("LISTEN news", "SELECT count(*) FROM pg_listening_channels()", [(0,)]),
    ("PREPARE mine AS SELECT 1", "SELECT count(*) FROM pg_prepared_statements WHERE from_sql", [(0,)]),
    ("DECLARE mine CURSOR WITH HOLD FOR SELECT 1", "SELECT count(*) FROM pg_cursors", [(0,)]),
    ("SET search_path TO pg_catalog", "SHOW search_path", [('"$user", public',)]),
    ("BEGIN", "SELECT pg_current_xact_id_if_assigned()", [(None,)]),
]


@both
@pytest.mark.parametrize(("make_state", "look", "clean"), STATE, ids=[each[0].split("(")[0][:24] for each in STATE])
def test_no_borrower_sees_what_another_left_behind(  # P2
    small_pool: Small, mode: str, make_state: str, look: str, clean: list[Any]
) -> None:
    pool = small_pool(mode)
    pid = backend_pid()
    query(make_state)
    assert is_held(), "session state must pin"
    assert backend_pid() == pid
    connection.close()
    assert run_in_thread(lambda: (backend_pid(), query(look))) == (pid, clean)
    if make_state != "BEGIN":
        assert pool.snapshot().cleaned >= 1
        assert sum(pool.snapshot().pins.values()) >= 1


@both
def test_a_role_and_transaction_characteristics_do_not_cross(small_pool: Small, mode: str) -> None:  # P2
    small_pool(mode)
    with poolmgr.pinned():
        connection.ensure_connection()
        connection.connection.read_only = True
        query("SELECT 1")
    connection.close()
    documents(1)
    assert Document.objects.count() == 1


def test_cleaning_keeps_what_the_settings_configured(small_pool: Small) -> None:  # P2
    small_pool("session")
    zone = query("SHOW timezone")
    query("SET timezone TO 'Asia/Tokyo'")
    connection.close()
    assert run_in_thread(lambda: query("SHOW timezone")) == zone


@both
def test_automatic_prepared_statements_work_in_every_mode_and_after_cleaning(small_pool: Small, mode: str) -> None:
    small_pool(mode)
    other = connections["default"].copy(alias=f"prepared_{mode}")
    connections[other.alias] = other
    other.settings_dict["OPTIONS"] |= {
        "pool": {"pool_mode": mode, "min_size": 0, "max_size": 1}, "server_side_binding": True, "prepare_threshold": 1,
    }  # fmt: skip

    def ask() -> int:
        with other.cursor() as cursor:
            cursor.execute("SELECT %s::int + 1", [4])
            assert cursor.fetchone() == (5,)
            cursor.execute("SELECT count(*) FROM pg_prepared_statements WHERE NOT from_sql")
            return int(cursor.fetchone()[0])

    try:
        assert max(ask() for _ in range(4)) >= 1
        with other.cursor() as cursor:
            cursor.execute("SET work_mem = '5MB'")
        other.close()
        assert ask() == 0
        assert max(ask() for _ in range(4)) >= 1
    finally:
        other.close()
        other.close_pool()
        del connections[other.alias]


# -- explicit ways in and out ---------------------------------------------------------------------------------------------


def test_pinned_keeps_one_connection_and_cleans_it_afterwards(small_pool: Small) -> None:  # P2
    pool = small_pool("transaction", max_size=3)
    query(
        "CREATE OR REPLACE FUNCTION remember_tenant(value text) RETURNS void LANGUAGE sql"
        " AS $$ SELECT set_config('app.tenant', value, false) $$"
    )
    connection.close()
    # The look at the statement above took it for one that sets something. What is being cleaned is not idle yet.
    until(lambda: pool.load().held == pool.snapshot().idle)
    before = pool.snapshot()
    with poolmgr.pinned():
        pid = backend_pid()
        assert is_held()
        query("SELECT remember_tenant('9')")
        assert backend_pid() == pid
        with poolmgr.pinned():
            query()
        assert is_held()
    assert not is_held()
    until(lambda: pool.snapshot().cleaned == before.cleaned + 1)
    assert pool.snapshot().pins["pinned()"] == before.pins.get("pinned()", 0) + 1
    assert query("SELECT coalesce(current_setting('app.tenant', true), '')") == [("",)]


def test_pinned_inside_atomic_keeps_nothing_beyond_the_transaction(small_pool: Small) -> None:  # P2
    pool = small_pool("transaction")
    before = pool.snapshot().cleaned
    with transaction.atomic(), poolmgr.pinned():
        query()
    assert not is_held()
    until(lambda: pool.snapshot().cleaned == before + 1)


@both
def test_what_is_set_inside_pinned_keeps_the_connection_beyond_it(small_pool: Small, mode: str) -> None:  # P2
    small_pool(mode, max_size=3)
    with poolmgr.pinned():
        pid = backend_pid()
        query("SET work_mem = '7MB'")
    assert query("SHOW work_mem") == [("7MB",)]
    assert backend_pid() == pid
    connection.close()
    assert query("SHOW work_mem") != [("7MB",)]


def test_released_gives_a_session_mode_connection_to_others(small_pool: Small) -> None:
    small_pool("session")
    query()
    with poolmgr.released():
        assert run_in_thread(lambda: query("SELECT 3")) == [(3,)]
    assert query("SELECT 4") == [(4,)]


def test_released_is_refused_where_something_needs_the_connection(small_pool: Small) -> None:
    small_pool("session")
    with transaction.atomic(), pytest.raises(ReleaseError, match=r"inside atomic\(\) on database 'default'"):
        poolmgr.released().__enter__()
    query("SET work_mem = '5MB'")
    with pytest.raises(ReleaseError, match=r"session state would be lost \(SET\)"):
        poolmgr.released().__enter__()
    connection.close()
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        with pytest.raises(ReleaseError, match="a cursor is open"):
            poolmgr.released().__enter__()
    transaction.set_autocommit(False)
    with pytest.raises(ReleaseError, match="a transaction is open"):
        poolmgr.released().__enter__()
    transaction.rollback()
    transaction.set_autocommit(True)


@both
def test_unpooled_works_beside_an_exhausted_pool(small_pool: Small, mode: str) -> None:
    pool = small_pool(mode)
    taken = pool.checkout()
    try:
        with poolmgr.unpooled():
            assert backend_pid() != taken.info.backend_pid
            with transaction.atomic():
                documents(1)
            assert Document.objects.count() == 1
        assert not is_held()
    finally:
        pool.give_back(taken)
    assert backend_pid() == taken.info.backend_pid


def test_unpooled_makes_no_pool_for_who_wants_none(small_pool: Small) -> None:
    small_pool("session")
    registry.close("default")
    with poolmgr.unpooled():
        assert query("SELECT 1") == [(1,)]
        assert registry.get("default") is None


def test_unpooled_is_a_connection_of_one_s_own_on_the_console_lane_too(small_pool: Small) -> None:
    pool = small_pool("session")
    query()
    connection.close()
    with console_lane():
        with poolmgr.unpooled():
            query()
            assert pool.snapshot().used == 0
        query()  # what is idle is taken else
        assert pool.snapshot().used == 1
    connection.close()


# -- Django's own habits --------------------------------------------------------------------------------------------------


@both
def test_request_signals_give_the_connection_back(small_pool: Small, mode: str) -> None:
    pool = small_pool(mode)
    request_started.send(sender=None)
    query()
    request_finished.send(sender=None)
    assert pool.snapshot().used == 0


@both
def test_closing_inside_atomic_is_survived(small_pool: Small, mode: str) -> None:
    pool = small_pool(mode)
    with pytest.raises(DatabaseError), transaction.atomic():
        query()
        connection.close()
        query()
    assert pool.snapshot().used == 0
    query()


@both
def test_a_copy_of_the_connection_shares_the_pool(small_pool: Small, mode: str) -> None:
    pool = small_pool(mode)
    connection.close()
    other = connections["default"].copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
        assert other.managed_pool is pool
    finally:
        other.close()


def test_pool_false_means_a_connection_of_its_own(small_pool: Small) -> None:  # P1
    pool = small_pool("session")
    other = connections["default"].copy()
    other.settings_dict["OPTIONS"] = {**other.settings_dict["OPTIONS"], "pool": False}
    with other.cursor() as cursor:
        cursor.execute("SELECT 1")
    assert other.pool is None
    assert pool.snapshot().used == 0
    other.close()


def test_integrity_errors_keep_djangos_classes(small_pool: Small) -> None:  # P9
    small_pool("transaction")
    query("CREATE TABLE IF NOT EXISTS unique_things (a int UNIQUE)")
    try:
        query("INSERT INTO unique_things VALUES (1)")
        with pytest.raises(IntegrityError):
            query("INSERT INTO unique_things VALUES (1)")
    finally:
        query("DROP TABLE unique_things")


def test_an_exhausted_pool_is_an_operational_error(small_pool: Small) -> None:  # P9
    pool = small_pool("session", connection_timeout=0.1)
    connection.close()
    with pool.connection(), pytest.raises(OperationalError, match="pool exhausted"):
        query()


def test_set_autocommit_inside_atomic_is_forbidden_as_ever(small_pool: Small) -> None:
    small_pool("transaction")
    with transaction.atomic(), pytest.raises(TransactionManagementError):
        transaction.set_autocommit(True)
    assert not is_held()
