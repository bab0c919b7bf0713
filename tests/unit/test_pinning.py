"""Which statements tie a connection to its borrower."""

import pytest
from psycopg import sql

from poolmgr.pools.sql.pinning import BEGINS, reasons


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("SET search_path TO tenant", "SET"),
        ("  -- why\n /* and how */ set statement_timeout = 5", "SET"),
        ("SET SESSION AUTHORIZATION bob", "SET"),
        ("SET ROLE bob", "SET"),
        ("RESET ALL", "SET"),
        ("SELECT set_config('app.tenant', '7', false)", "SET"),
        ("select Set_Config('app.tenant', %s, false), set_config('a.b', 'c', true)", "SET"),
        ("SELECT 1; SET work_mem = '1GB'", "SET"),
        ("PREPARE q AS SELECT 1", "PREPARE"),
        ("EXECUTE q", "PREPARE"),
        ("DEALLOCATE q", "PREPARE"),
        ("DISCARD PLANS", "DISCARD"),
        ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", "cursor WITH HOLD"),
        ("CREATE TEMP TABLE t (a int)", "temporary table"),
        ("CREATE TEMPORARY VIEW v AS SELECT 1", "temporary table"),
        ("create local temporary sequence s", "temporary table"),
        ("SELECT 1 AS a INTO TEMP t", "temporary table"),
        ("CREATE TABLE pg_temp.t (a int)", "temporary table"),
        ("LISTEN news", "LISTEN"),
        ("LOAD 'auto_explain'", "LOAD"),
        ("SELECT pg_advisory_lock(1)", "advisory lock"),
        ("SELECT pg_try_advisory_lock(1)", "advisory lock"),
        ("SELECT pg_advisory_unlock_all()", "advisory lock"),
        ("SELECT pg_try_advisory_lock_shared(1, 2)", "advisory lock"),
        ("SELECT nextval('s')", "sequence"),
        ("SELECT setval('s', 9)", "sequence"),
        ("DO $$ BEGIN PERFORM set_config('a.b', 'c', false); END $$", "DO block"),
        ("-- job; step 2\nSET app.x = 'a'", "SET"),
        ("/* a; b */ SET app.x = 'a'", "SET"),
        ("/* a /* b */ c */ SET app.x = 'a'", "SET"),
        ("SELECT '/*'; /* ; */ SET app.x = 'a'", "SET"),
        ("SELECT E'\\''; SET app.x = E'\\'--'", "SET"),
        ('SELECT 1 AS "--"; SET app.x = 1', "SET"),
        ("SELECT $a$ -- $$ $a$; SET app.x = 1", "SET"),
        ("SET local.x = 'a'", "SET"),
        ("SET transaction.x = 'a'", "SET"),
        ("UPDATE pg_settings SET setting = '12345kB' WHERE name = 'work_mem'", "SET"),
        ("SELECT set_config('app.x', 'a, true)', false)", "SET"),
        ("/*;*/PREPARE p AS SELECT 1", "PREPARE"),
        ("-- a; b\nLISTEN zz", "LISTEN"),
        ("-- x; y\nDECLARE c CURSOR WITH HOLD FOR SELECT 1", "cursor WITH HOLD"),
        ("DECLARE c CURSOR WITH /**/ HOLD FOR SELECT 1", "cursor WITH HOLD"),
        ("CREATE /* ; */ TEMP TABLE t (a int)", "temporary table"),
        ("CREATE OR REPLACE TEMP VIEW v AS SELECT 1", "temporary table"),
        ("SELECT 1 INTO/*;*/ TEMP t", "temporary table"),
        ("SELECT U&\"set\\005fconfig\"('app.x', 'a', false)", "name with escapes"),
        ("-- a\rSET app.x = 'a'", "SET"),
        ("SELECT 1 AS \u20ac$$ ; SET app.x = 'a' -- $$", "SET"),
        ("SELECT $A$ $a$ ' $A$; SET app.x = 'a' --'", "SET"),
        ("SELECT $\u20ac$ ' $\u20ac$; SET app.x = 'a' --'", "SET"),
        ("SELECT E'a'\n'\\''; SET app.x = 'a' -- '", "statement that can't be read"),
        ('SELECT 1 AS a INTO TEMP"zz"', "temporary table"),
        ("SELECT setseed(0.5)", "random seed"),
        ("CREATE EXTENSION IF NOT EXISTS vector", "new extension"),
        ("SELECT 'without; an end", "statement that can't be read"),
    ],
)
def test_session_state_is_seen(statement: str, reason: str) -> None:  # P2
    assert reason in reasons(statement)
    assert reason in reasons(statement.encode())
    assert reason in reasons(sql.SQL(statement))  # type: ignore[arg-type]
    padded = statement + " " + "-" * 5000
    assert reason in reasons(padded)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM settings WHERE id = %s",
        "INSERT INTO templates (name) VALUES (%s) RETURNING id",
        "CREATE TABLE temperature (a int)",
        "SELECT temp FROM weather",
        "INSERT INTO weather (place, temp) VALUES (%s, %s)",
        "CREATE TABLE weather (temp int)",
        "INSERT INTO notes VALUES ('; SET x = 1')",
        "INSERT INTO notes VALUES ('-- create temp table')",
        "SELECT 'it''s; begin', \"set; me\", $$;begin$$ -- ; set x = 1",
        "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ DECLARE x int; BEGIN RETURN 1; END $$",
        "SELECT * FROM pg_settings",
        "UPDATE t SET a = 1",
        "SET LOCAL search_path TO tenant",
        "SET TRANSACTION READ ONLY",
        "SET CONSTRAINTS ALL IMMEDIATE",
        "SELECT set_config('app.tenant', '7', true)",
        "SELECT pg_advisory_xact_lock(1)",
        "SELECT pg_try_advisory_xact_lock_shared(1)",
        "DECLARE c CURSOR FOR SELECT 1",
        "PREPARE TRANSACTION 'x'",
        "SAVEPOINT s",
        "(SELECT 1) UNION (SELECT 2)",
        "",
        "-- nothing",
    ],
)
def test_ordinary_statements_pin_nothing(statement: str) -> None:
    assert reasons(statement) == frozenset()


@pytest.mark.parametrize(
    "statement",
    [
        "BEGIN",
        "begin isolation level serializable",
        "START TRANSACTION",
        "/* x */BEGIN;SELECT 1",
        "/* job; step */ BEGIN",
    ],
)
def test_a_transaction_that_sql_begins_is_told_apart(statement: str) -> None:
    assert reasons(statement) == {BEGINS}


@pytest.mark.long
def test_the_look_at_a_long_statement_takes_its_length_and_not_its_square() -> None:  # P8
    words = "('put into the template', 'create'), " * 100_000
    assert reasons(f"INSERT INTO t VALUES {words}('temp')") == frozenset()
    assert reasons("INSERT INTO t VALUES " + "into create temperature " * 100_000) == frozenset()
    assert reasons("SELECT " + "'" * 300_001 + " -- " + "/*" * 100_000) == frozenset({"statement that can't be read"})
