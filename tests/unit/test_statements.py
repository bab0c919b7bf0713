"""A statement as an operator may read it: without the values in it, also where its end is missing."""

import pytest
from psycopg import sql

from poolmgr.pools.sql.statements import UNREADABLE, told_statement


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("SELECT a,\n  b FROM t WHERE c = 'my secret' AND d > 4711", "SELECT a, b FROM t WHERE c = ? AND d > ?"),
        ("SELECT %s, $1, t2.c3 FROM t2 -- hunter2", "SELECT %s, $1, t2.c3 FROM t2"),
        (b"SELECT E'it\\'s hunter2', $x$hunter2$x$, 1.5e3", "SELECT ?, ?, ?"),
        (sql.SQL("SELECT {} FROM {}").format(sql.Literal("hunter2"), sql.Identifier("a b")), 'SELECT ? FROM "a b"'),
        ("SELECT a FROM t WHERE name = 'it''s' || 'hunter2", UNREADABLE),
        ("SELECT " + "a, " * 200, "SELECT " + ("a, " * 200)[:292] + "…"),
        (object(), UNREADABLE),
    ],
)
def test_statement_is_told_without_its_values(query: object, told: str) -> None:  # P13
    assert told_statement(query) == told


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("SELECT a FROM t WHERE name = 'hunter2 and so on", "SELECT a FROM t WHERE name ="),
        ("SELECT a /* hunter2", "SELECT a"),
        ("SELECT 'it\\'s hunter2', 'x", UNREADABLE),
        ("SELECT 1", "SELECT ?"),
    ],
)
def test_what_a_server_has_cut_off_is_told_up_to_what_has_no_end(query: str, told: str) -> None:  # P13
    assert told_statement(query, cut=True) == told
