"""What a statement leaves behind in its session: a cheap look at its words, never a parse.

A false alarm costs one cleaning; a miss would let one borrower see another's state. So the look errs to alarm: a word
inside a literal counts. State that is changed inside a stored function can't be seen: ``poolmgr.pinned()`` is for that.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from psycopg import sql

from poolmgr.pools.ledger import EXTENDS

#: What marks the statements that begin a transaction. It pins nothing, since libpq tells when it is over.
BEGINS = "transaction"

_FIRST_WORDS = {
    "set": "SET",
    "reset": "SET",
    "prepare": "PREPARE",
    "execute": "PREPARE",
    "deallocate": "PREPARE",
    "discard": "DISCARD",
    "declare": "cursor WITH HOLD",
    "listen": "LISTEN",
    "unlisten": "LISTEN",
    "load": "LOAD",
    "do": "DO block",
}
_BEGIN_WORDS = frozenset({"begin", "start"})
#: SET that ends with the transaction.
_LOCAL = re.compile(r"set\s+(local|constraints|transaction)\b")
_TWO_PHASE = re.compile(r"prepare\s+transaction\b")
_WITH_HOLD = re.compile(r"\bwith\s+hold\b")
_IN_TEXT = (
    ("set_config", "SET"),
    ("pg_advisory_", "advisory lock"),
    ("pg_try_advisory_", "advisory lock"),
    ("nextval", "sequence"),
    ("setval", "sequence"),
    ("temp", "temporary table"),
    ("setseed", "SET"),
    ("set_limit", "SET"),
    ("dblink_connect", "dblink"),
    ("create extension", EXTENDS),
)
_TEMPORARY = re.compile(r"\b(create|into)\b[^;]*\b(temp|temporary)\b|\bpg_temp\b")
_XACT_LOCKS_ONLY = re.compile(r"pg_(try_)?advisory_(?!xact_)")
_SET_CONFIG_LOCAL = re.compile(r"set_config\s*\([^()]*,\s*(true|'t(rue)?')\s*\)")
_LEADING = re.compile(r"(?:\s+|--[^\n]*\n?|/\*.*?\*/|\()*", re.DOTALL)
_WORD = re.compile(r"[a-z_]+")
_LONG = 4096


def reasons(query: Any, connection: Any = None) -> frozenset[str]:
    """Why ``query`` ties its connection to its borrower; empty for the common case.

    ``query`` is what psycopg takes: a str, bytes or a composed statement.
    """
    if isinstance(query, bytes):
        query = query.decode(errors="replace")
    elif isinstance(query, sql.Composable):
        query = query.as_string(connection)
    elif not isinstance(query, str):
        query = str(query)
    # Long statements are bulk inserts that differ each time: to remember them would cost memory for nothing.
    return _remembered(query) if len(query) <= _LONG else _look(query)


def _look(query: str) -> frozenset[str]:
    text = query.lower()
    found = {
        reason
        for part in (text.split(";") if ";" in text else (text,))
        if (reason := _reason_by_first_word(part)) is not None
    }
    found.update(reason for token, reason in _IN_TEXT if token in text and _is_meant(token, text))
    return frozenset(found)


_remembered = lru_cache(maxsize=2048)(_look)


def _reason_by_first_word(part: str) -> str | None:
    start = _LEADING.match(part)
    word = _WORD.match(part, start.end() if start else 0)
    if word is None:
        return None
    if word.group() in _BEGIN_WORDS:
        return BEGINS
    reason = _FIRST_WORDS.get(word.group())
    rest = part[word.start() :]
    if reason == "SET" and _LOCAL.match(rest):
        return None
    if reason == "PREPARE" and _TWO_PHASE.match(rest):
        return None
    if word.group() == "declare" and not _WITH_HOLD.search(rest):
        return None
    return reason


def _is_meant(token: str, text: str) -> bool:
    if token == "temp":
        return _TEMPORARY.search(text) is not None
    if "advisory" in token:
        return _XACT_LOCKS_ONLY.search(text) is not None
    if token == "set_config":
        return len(_SET_CONFIG_LOCAL.findall(text)) < text.count("set_config")
    return True
