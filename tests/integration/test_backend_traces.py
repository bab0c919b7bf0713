"""What a borrower leaves behind without saying so: it reaches nobody, whatever way it was made in."""

import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from django.db import connection, connections, transaction
from django.db.backends.signals import connection_created
from psycopg.rows import dict_row

import poolmgr
from poolmgr.backends.postgresql.cursors import ServerBindingCursor
from poolmgr.targets.postgresql.housekeeping import look_after
from poolmgr.targets.postgresql.managed import ManagedPool
from tests.integration.backend import MODES, backend_pid, is_held, query, run_in_thread
from tests.waiting import until

Small = Callable[..., ManagedPool]
both = pytest.mark.parametrize("mode", MODES)

HIDDEN = [
    "-- job; step 2\nSET app.x = 'mine'",
    "/* a /* b */ ; */ SET app.x = 'mine'",
    "SET local.x = 'mine'; SET app.x = 'mine'",
    "SELECT set_config('app.x', 'mine, true)', false)",
    "UPDATE pg_settings SET setting = 'mine' WHERE name = 'app.x'",
    "SELECT U&\"set\\005fconfig\"('app.x', 'mine', false)",
]


@both
@pytest.mark.parametrize("statement", HIDDEN)
def test_a_setting_made_in_disguise_does_not_cross(small_pool: Small, mode: str, statement: str) -> None:  # P2
    small_pool(mode)
    if "pg_settings" in statement:
        query("SET app.x = 'first'")
    pid = backend_pid()
    query(statement)
    assert is_held()
    connection.close()
    assert run_in_thread(lambda: (backend_pid(), setting())) == (pid, "")


def setting() -> Any:
    return query("SELECT coalesce(current_setting('app.x', true), '')")[0][0]


@both
@pytest.mark.parametrize("kind", [psycopg.ClientCursor, psycopg.RawCursor, psycopg.Cursor])
def test_a_cursor_of_another_class_pins_whatever_it_runs(small_pool: Small, mode: str, kind: Any) -> None:  # P2
    pool = small_pool(mode)
    before = pool.snapshot().pins.get("cursor of another class", 0)
    pid = backend_pid()
    with connection.cursor(), kind(connection.connection) as cursor:
        cursor.execute("SET app.x = 'mine'")
    assert is_held()
    connection.close()
    assert run_in_thread(lambda: (backend_pid(), setting())) == (pid, "")
    assert pool.snapshot().pins["cursor of another class"] == before + 1


@both
def test_what_a_borrower_sets_on_the_connection_itself_does_not_cross(small_pool: Small, mode: str) -> None:  # P2
    pool = small_pool(mode)
    heard: list[str] = []
    with connection.cursor():
        raw = connection.connection
        raw.row_factory = dict_row
        raw.cursor_factory = psycopg.RawCursor
        raw.prepare_threshold = 0
        raw.add_notice_handler(lambda notice: heard.append(notice.message_primary))
        raw.add_notify_handler(lambda notify: heard.append(notify.payload))
    assert is_held(), "what is set on the connection must pin"
    connection.close()

    def use_it() -> Any:
        with connection.cursor() as cursor:
            cursor.execute("DO $$ BEGIN RAISE NOTICE 'overheard'; END $$")
            cursor.execute("LISTEN news")
            cursor.execute("NOTIFY news, 'overheard'")
            cursor.execute("SELECT 1, %s", [2])
            kept = connection.connection
            assert kept is raw
            return cursor.fetchall(), kept.prepare_threshold

    assert run_in_thread(use_it) == ([(1, 2)], None)
    assert heard == []
    assert pool.snapshot().pins["attribute of the connection"] >= 1


@both
def test_notifications_that_nobody_read_do_not_cross(small_pool: Small, mode: str) -> None:  # P2
    small_pool(mode)
    query("LISTEN secrets")
    raw = connection.connection
    with psycopg.connect(**connection.get_connection_params(), autocommit=True) as other:
        other.execute("NOTIFY secrets, 'of the first'")
    query()
    connection.close()

    def listen() -> Any:
        query("LISTEN news")
        assert connection.connection is raw
        return [notify.payload for notify in connection.connection.notifies(timeout=0.2)]

    assert run_in_thread(listen) == []


@both
def test_a_loop_over_notifications_that_is_left_does_not_block_the_pool(small_pool: Small, mode: str) -> None:  # P8
    small_pool(mode)
    left: list[Any] = []
    for _ in range(4):  # more than the pool has workers
        query("LISTEN news")
        query("NOTIFY news, 'x'")
        left.append(connection.connection.notifies(timeout=1))
        next(left[-1])
        connection.close()
    assert run_in_thread(transact) == [(1,)]


@both
@pytest.mark.parametrize("call", ["set_read_only", "set_deferrable", "set_isolation_level"])
def test_characteristics_set_by_a_call_do_not_cross(small_pool: Small, mode: str, call: str) -> None:  # P2
    small_pool(mode)
    with connection.cursor():
        getattr(connection.connection, call)(psycopg.IsolationLevel.SERIALIZABLE if "level" in call else True)
    assert is_held()
    connection.close()

    def look() -> Any:
        with transaction.atomic():
            return query("SELECT current_setting('transaction_read_only'), current_setting('transaction_isolation')")

    assert run_in_thread(look) == [("off", "read committed")]


@both
def test_a_statement_that_failed_before_it_ran_announces_no_other(small_pool: Small, mode: str) -> None:  # P2
    small_pool(mode)
    with connection.cursor() as cursor:
        with pytest.raises(TypeError):
            cursor.cursor.execute("SELECT 1", bogus=1)
        with pytest.raises(psycopg.ProgrammingError):
            cursor.cursor.execute(psycopg.sql.SQL("{}").format(psycopg.sql.Literal(object())))
        with psycopg.ClientCursor(connection.connection) as other:
            other.execute("SET app.x = 'mine'")
    connection.close()
    assert run_in_thread(setting) == ""


@both
def test_a_server_side_cursor_of_psycopg_s_own_keeps_its_connection(small_pool: Small, mode: str) -> None:  # P3
    small_pool(mode)
    with connection.cursor():
        named = connection.connection.cursor("mine", withhold=True)
        named.execute("SELECT generate_series(1, 10)")
    assert is_held()
    assert named.fetchone() == (1,)
    connection.close()

    def hold_it() -> Any:
        with transaction.atomic():
            query()
            with pytest.raises(psycopg.InterfaceError, match="went back to the pool"):
                named.fetchone()
            return query("SELECT 1")

    assert run_in_thread(hold_it) == [(1,)]


@both
def test_a_handler_that_a_borrower_removes_is_there_for_the_next(small_pool: Small, mode: str) -> None:  # P2
    small_pool(mode)
    heard: list[str] = []

    def hear(notice: Any) -> None:
        heard.append(notice.message_primary)

    def greet(connection: Any, **kwargs: Any) -> None:
        connection.connection.add_notice_handler(hear)

    connection_created.connect(greet)
    try:
        with connection.cursor():
            connection.connection.remove_notice_handler(hear)
        connection.close()
        run_in_thread(lambda: query("DO $$ BEGIN RAISE NOTICE 'heard'; END $$"))
        assert heard == ["heard"]
    finally:
        connection_created.disconnect(greet)
        query("SET app.x = 'to have the handlers cleaned away'")
        connection.close()


@both
def test_a_stream_or_copy_that_begins_late_does_not_reach_the_next_borrower(small_pool: Small, mode: str) -> None:  # P3
    small_pool(mode)
    cursor = connection.cursor()
    rows = cursor.cursor.stream("SELECT 7")
    copy = cursor.cursor.copy("COPY (SELECT 7) TO STDOUT")
    connection.close()

    def hold_it(meanwhile: Callable[[], None]) -> Any:
        with transaction.atomic():
            query()
            meanwhile()
            return query("SELECT 1")

    def begin() -> None:
        with pytest.raises(psycopg.InterfaceError, match="went back to the pool"):
            list(rows)
        with pytest.raises(psycopg.InterfaceError, match="went back to the pool"):
            copy.__enter__()

    assert run_in_thread(lambda: hold_it(begin)) == [(1,)]


@both
def test_an_old_server_side_cursor_does_not_move_under_the_next_borrower(small_pool: Small, mode: str) -> None:  # P3
    small_pool(mode)
    cursor = connection.chunked_cursor()
    cursor.execute("SELECT generate_series(1, 10)")
    cursor.fetchone()
    connection.close()

    def hold_it() -> Any:
        with transaction.atomic():
            query()
            with pytest.raises(psycopg.InterfaceError, match="went back to the pool"):
                cursor.cursor.scroll(1)
            return query("SELECT 1")

    assert run_in_thread(hold_it) == [(1,)]


@both
def test_a_psycopg_block_that_nobody_ends_does_not_spoil_the_connection(small_pool: Small, mode: str) -> None:  # P2
    small_pool(mode)
    left: list[Any] = []
    for enter in (lambda raw: raw.transaction(), lambda raw: raw.pipeline()):
        with connection.cursor():
            left.append(enter(connection.connection))
            left[-1].__enter__()
            query()
        connection.close()
        assert run_in_thread(transact) == [(1,)]
    with connection.cursor():
        left.append(connection.connection.transaction())
        left[-1].__enter__()
        query("COMMIT")
    connection.close()
    assert run_in_thread(transact) == [(1,)]
    with connection.cursor():
        raw = connection.connection
        raw.autocommit = False
        raw.tpc_begin(raw.xid(1, "gtrid", "bqual"))
    connection.close()
    assert run_in_thread(transact) == [(1,)]


def transact() -> Any:
    with transaction.atomic():
        return query("SELECT 1")


def test_statements_prepared_in_a_transaction_that_was_rolled_back_are_not_used_again(small_pool: Small) -> None:  # P2
    small_pool("session")
    query("CREATE TABLE IF NOT EXISTS prepared (a int)")
    statement = "SELECT * FROM prepared WHERE a = %s"

    def ask() -> Any:
        connection.ensure_connection()
        # As with server_side_binding and a prepare_threshold in the settings.
        connection.connection._prepared.prepare_threshold = 1
        return ServerBindingCursor(connection.connection).execute(statement, [1], prepare=True).fetchall()

    query("BEGIN")
    query("ALTER TABLE prepared ADD COLUMN b int")
    ask()
    raw = connection.connection
    connection.close()
    assert run_in_thread(ask) == []
    raw._prepared.prepare_threshold = None


@both
def test_a_seed_ends_with_its_connection(small_pool: Small, mode: str) -> None:  # P2
    pool = small_pool(mode)
    pid = backend_pid()
    query("SELECT setseed(0.42)")
    connection.close()
    assert run_in_thread(backend_pid) != pid
    until(lambda: pool.snapshot().used == 0)


@both
def test_unpooled_inside_unpooled_keeps_the_outer_connection(small_pool: Small, mode: str) -> None:
    small_pool(mode)
    with poolmgr.unpooled():
        query("SET app.x = 'mine'")
        pid = backend_pid()
        with poolmgr.unpooled(), poolmgr.released():
            assert backend_pid() == pid
        assert (backend_pid(), setting()) == (pid, "mine")
        connection.set_autocommit(False)
        query("SELECT 1")
        with poolmgr.unpooled():
            assert backend_pid() == pid
        connection.rollback()
        connection.set_autocommit(True)
    assert run_in_thread(setting) == ""


def test_a_wrong_word_in_a_literal_refuses_no_statement(small_pool: Small) -> None:
    small_pool("statement")
    assert query("SELECT 'Terms; start today'") == [("Terms; start today",)]


@both
def test_autocommit_off_in_the_settings_begins_with_a_transaction(
    small_pool: Small, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:  # P1
    small_pool(mode)
    query("CREATE TABLE IF NOT EXISTS kept (a int)")
    connection.close()
    monkeypatch.setitem(connection.settings_dict, "AUTOCOMMIT", False)
    with transaction.atomic():
        assert connection.in_atomic_block
        query("INSERT INTO kept VALUES (1)")
    assert not connection.get_autocommit()
    connection.rollback()
    assert query("SELECT count(*) FROM kept") == [(0,)]
    with transaction.atomic():
        pass
    query("INSERT INTO kept VALUES (1)")
    connection.close()
    assert query("SELECT count(*) FROM kept") == [(0,)]
    connection.close()


@both
def test_every_wrapper_knows_its_isolation_level(small_pool: Small, mode: str) -> None:  # P1
    small_pool(mode)
    query()
    connection.close()

    def ask() -> Any:
        query()
        return connection.isolation_level  # type: ignore[attr-defined]

    assert run_in_thread(ask) == psycopg.IsolationLevel.READ_COMMITTED


@both
def test_threads_that_share_a_connection_keep_it_beyond_the_one_that_took_it(
    small_pool: Small, mode: str
) -> None:  # P1
    pool = small_pool(mode)
    shared: Any = connections["default"]
    shared.inc_thread_sharing()
    try:

        def take() -> None:
            with shared.cursor() as cursor:
                cursor.execute("SET app.x = 'mine'")

        thread = threading.Thread(target=take)
        thread.start()
        thread.join()
        look_after(pool)
        assert pool.snapshot().used == 1
        assert setting() == "mine"
    finally:
        shared.dec_thread_sharing()
    connection.close()
    assert run_in_thread(setting) == ""


@both
def test_a_shared_connection_outlives_its_own_thread(small_pool: Small, mode: str) -> None:  # P1
    pool = small_pool(mode)
    shared: list[Any] = []

    def take() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET app.x = 'mine'")
        shared.append(connections["default"])
        shared[0].inc_thread_sharing()

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    look_after(pool)
    assert pool.snapshot().used == 1
    with shared[0].cursor() as cursor:
        cursor.execute("SHOW app.x")
        assert cursor.fetchone() == ("mine",)
    shared[0].close()
    assert run_in_thread(setting) == ""
