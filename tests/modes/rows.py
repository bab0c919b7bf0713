"""What each row of the table in docs/modes.md means, played on real servers: each says in one word how it went.

`yes`: it works as without a pool, and the next borrower sees nothing of it. `refused`: our pool says why not, and nothing was
done. `fails`: PgBouncer or the server breaks it off. `lost`: it seems to work, and is not kept.
"""

from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from typing import Any

import psycopg
from django.db import Error, models, transaction

import poolmgr
from poolmgr.exceptions import ModeError
from tests.modes.behind import ALIAS, Behind
from tests.waiting import until

Row = Callable[[Behind], str]
ROWS: dict[str, Row] = {}
#: What the alias has in its settings for a row.
SETTINGS: dict[str, dict[str, Any]] = {}

LOCK = 1147


def row(name: str, **settings: Any) -> Callable[[Row], Row]:
    def note(play: Row) -> Row:
        ROWS[name], SETTINGS[name] = play, settings
        return play

    return note


@row("a query, and several statements in one")
def statements(behind: Behind) -> str:
    behind.query("CREATE TABLE told (word text); INSERT INTO told VALUES ('one'), ('two')")
    try:
        return "yes" if behind.value("SELECT count(*) FROM told WHERE word = %s", "two") == 1 else "lost"
    finally:
        behind.query("DROP TABLE told")


@row("`server_side_binding`", server_side_binding=True)
def bound(behind: Behind) -> str:
    with behind.neighbours():
        return (
            "yes" if [behind.value("SELECT %s::int + 1", number) for number in range(9)] == [*range(1, 10)] else "lost"
        )


def _prepared(behind: Behind) -> str:
    with suppress(Error):
        first = behind.value("SELECT %s::int + 1", 1)
        with behind.neighbours():
            second = behind.value("SELECT %s::int + 1", 2)
        return "yes" if (first, second) == (2, 3) else "lost"
    return "fails"


@row("`prepare_threshold`, PgBouncer below 1.21", prepare_threshold=0, server_side_binding=True)
def prepared_before(behind: Behind) -> str:
    return _prepared(behind)


@row("`prepare_threshold`, PgBouncer from 1.21", prepare_threshold=0, server_side_binding=True)
def prepared_since(behind: Behind) -> str:
    return _prepared(behind)


@row("`atomic()`, nested too")
def atomic(behind: Behind) -> str:
    with transaction.atomic(using=ALIAS):
        behind.query("CREATE TABLE told (word text)")
        with suppress(ZeroDivisionError), transaction.atomic(using=ALIAS):
            behind.query("INSERT INTO told VALUES ('gone')")
            raise ZeroDivisionError
        with behind.neighbours():
            behind.query("INSERT INTO told VALUES ('kept')")
    try:
        return "yes" if behind.query("SELECT word FROM told") == [("kept",)] else "lost"
    finally:
        behind.query("DROP TABLE told")


class Setting(models.Model):
    """One of the server's own tables, which is there in every database."""

    name = models.TextField(primary_key=True)

    class Meta:
        app_label = "modes"
        managed = False
        db_table = "pg_settings"

    def __str__(self) -> str:
        return self.name


def _read_through(behind: Behind) -> str:
    rows = Setting.objects.using(ALIAS).iterator(chunk_size=20)
    seen = {next(rows).name}
    with behind.neighbours():
        seen.update(each.name for each in rows)
    return "yes" if len(seen) == behind.value("SELECT count(*) FROM pg_settings") else "lost"


@row("`iterator()`")
def iterator(behind: Behind) -> str:
    return _read_through(behind)


@row("`iterator()` with `DISABLE_SERVER_SIDE_CURSORS`", DISABLE_SERVER_SIDE_CURSORS=True)
def iterator_on_client(behind: Behind) -> str:
    return _read_through(behind)


@row("`iterator()` in `atomic()`")
def iterator_in_transaction(behind: Behind) -> str:
    with transaction.atomic(using=ALIAS):
        return _read_through(behind)


def _set(behind: Behind, name: str, value: str) -> str:
    behind.query(f"SET {name} = '{value}'")
    with behind.neighbours():
        kept = behind.value(f"SHOW {name}") == value
    seen = behind.next_borrower(lambda: behind.value(f"SHOW {name}")) == value
    return "yes" if kept and not seen else "lost"


@row("`SET`, and a tenant's `search_path`")
def setting(behind: Behind) -> str:
    return _set(behind, "lock_timeout", "12345ms")


@row("`SET TIME ZONE`")
def time_zone(behind: Behind) -> str:
    return _set(behind, "TimeZone", "Asia/Kolkata")


@row("`SET LOCAL` in `atomic()`")
def local_setting(behind: Behind) -> str:
    with transaction.atomic(using=ALIAS):
        behind.query("SET LOCAL lock_timeout = '12345ms'")
        with behind.neighbours():
            kept = behind.value("SHOW lock_timeout") == "12345ms"
    return "yes" if kept and behind.value("SHOW lock_timeout") != "12345ms" else "lost"


@row("temporary tables")
def temporary(behind: Behind) -> str:
    behind.query("CREATE TEMPORARY TABLE scratch (word text)")
    there = "SELECT to_regclass('pg_temp.scratch') IS NOT NULL"
    with behind.neighbours():
        kept = behind.value(there)
    return "yes" if kept and not behind.next_borrower(lambda: behind.value(there)) else "lost"


@row("temporary tables in `atomic()`, `ON COMMIT DROP`")
def temporary_in_transaction(behind: Behind) -> str:
    with transaction.atomic(using=ALIAS):
        behind.query("CREATE TEMPORARY TABLE scratch ON COMMIT DROP AS SELECT 7 AS number")
        with behind.neighbours():
            kept = behind.value("SELECT number FROM scratch") == 7
    return "yes" if kept and not behind.value("SELECT to_regclass('pg_temp.scratch') IS NOT NULL") else "lost"


@row("`LISTEN`")
def listen(behind: Behind) -> str:
    behind.query("LISTEN news")
    behind.at_server("NOTIFY news, 'good'")
    conn = behind.connection.connection
    if conn is None:
        return "lost"
    return "yes" if [each.payload for each in conn.notifies(timeout=0.3, stop_after=1)] == ["good"] else "lost"


@row("advisory locks")
def advisory(behind: Behind) -> str:
    behind.query("SELECT pg_advisory_lock(%s)", LOCK)
    with behind.neighbours():
        unlocked = behind.value("SELECT pg_advisory_unlock(%s)", LOCK)
    return "yes" if unlocked else "lost"


@row("advisory locks of the transaction, in `atomic()`")
def advisory_in_transaction(behind: Behind) -> str:
    taken = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s"
    with transaction.atomic(using=ALIAS):
        behind.query("SELECT pg_advisory_xact_lock(%s)", LOCK)
        with behind.neighbours():
            kept = behind.at_server(taken, LOCK) == [(1,)]
    return "yes" if kept and behind.at_server(taken, LOCK) == [(0,)] else "lost"


@row("`COPY`")
def copy(behind: Behind) -> str:
    behind.query("CREATE TABLE told (word text)")
    try:
        with behind.connection.cursor() as cursor:
            with cursor.copy("COPY told FROM STDIN") as sink, behind.neighbours():
                sink.write_row(["one"])
                sink.write_row(["two"])
            with cursor.copy("COPY told TO STDOUT") as source:
                return "yes" if [*source.rows()] == [("one",), ("two",)] else "lost"
    finally:
        behind.query("DROP TABLE told")


@row("a cancel")
def cancel(behind: Behind) -> str:
    with behind.neighbours(), behind.connection.cursor() as cursor:
        conn = behind.connection.connection

        def stop() -> None:
            until(lambda: behind.at_server("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"), "the query")
            conn.cancel_safe()

        thread = Thread(target=stop)
        thread.start()
        try:
            cursor.execute("SELECT pg_sleep(20)")
        except Error as ex:
            found = isinstance(ex.__cause__, psycopg.errors.QueryCanceled)
            return "yes" if found else "fails"
        finally:
            thread.join()
    return "lost"


@row("`pinned()`")
def pinned(behind: Behind) -> str:
    with poolmgr.pinned(ALIAS):
        behind.query("SELECT set_config('lock_timeout', '12345ms', false)")
        with behind.neighbours():
            kept = behind.value("SHOW lock_timeout") == "12345ms"
    seen = behind.next_borrower(lambda: behind.value("SHOW lock_timeout")) == "12345ms"
    return "yes" if kept and not seen else "lost"


@row("`unpooled()`: a session of one's own")
def unpooled(behind: Behind) -> str:
    with poolmgr.unpooled(ALIAS):
        behind.query("SET lock_timeout = '12345ms'")
        with behind.neighbours():
            return "yes" if behind.value("SHOW lock_timeout") == "12345ms" else "lost"


@row("after all server connections were killed, the next query")
def killed(behind: Behind) -> str:
    behind.query("SELECT 1")
    behind.connection.close()
    behind.clear()
    return "yes" if behind.value("SELECT 1") == 1 else "lost"


@row("a validation query before each checkout", pool={"validation": "query"})
def validated(behind: Behind) -> str:
    behind.value("SELECT 1")
    behind.connection.close()
    with behind.neighbours():
        behind.value("SELECT 1")
    # A query that fails costs the connection.
    return "yes" if behind.pool.snapshot().created == 1 else "lost"


@row("a recycle, with nobody failing")
def recycled(behind: Behind) -> str:
    before = behind.value("SELECT pg_backend_pid()")
    behind.connection.close()
    found = behind.pool.recycle(5)
    if (found.replaced, found.remaining, found.failed) != (1, 0, ""):
        return "lost"
    gone = behind.at_server("SELECT count(*) FROM pg_stat_activity WHERE pid = %s", before) == [(0,)]
    return "yes" if gone else "ours only"


@row("`KILL` at PgBouncer and its `RESUME`, then the next query")
def killed_by_pgbouncer(behind: Behind) -> str:
    if behind.bouncer is None:
        return "–"  # noqa: RUF001
    behind.value("SELECT 1")
    behind.connection.close()
    behind.bouncer.console(f"KILL {behind.theirs}")
    behind.bouncer.console(f"RESUME {behind.theirs}")
    return "yes" if behind.value("SELECT 1") == 1 else "lost"


@row("which server process a connection has")
def process(behind: Behind) -> str:
    with poolmgr.released(ALIAS):
        pass
    pid = behind.value("SELECT pg_backend_pid()")
    seen = behind.pool.snapshot()
    if seen.backend_pids:
        return "yes" if pid in seen.backend_pids else "lost"
    return "unknown" if seen.behind_pooler else "lost"


def played(name: str, behind: Behind) -> str:
    """How it went."""
    try:
        return ROWS[name](behind)
    except ModeError:
        return "refused"
    except (Error, psycopg.Error):  # Django closes a cursor of its own outside of what makes the one of the other
        return "fails"
