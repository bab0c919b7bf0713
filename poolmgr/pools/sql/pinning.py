"""What a statement leaves behind in its session: a cheap look at its words, never a parse.

A false alarm costs one cleaning; a miss would let one borrower see another's state. So the look errs to alarm. State that
is changed inside a stored function can't be seen: ``poolmgr.pinned()`` is for that.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from psycopg import sql

from poolmgr.pools.sql.skeleton import skeleton

#: What marks the statements that begin a transaction. It pins nothing, since libpq tells when it is over.
BEGINS = "transaction"
#: Of whoever made an extension, whose types the pool's other connections don't know yet.
EXTENDS = "new extension"
#: What leaves traces that no DISCARD ALL removes: such a connection is replaced.
LIBRARY, SEED, DBLINK = "LOAD", "random seed", "dblink"
INDELIBLE = frozenset({LIBRARY, SEED, DBLINK})

#: What stays in the server's session until somebody takes it away, or the session ends.
TRACES = INDELIBLE | {"SET", "PREPARE", "cursor WITH HOLD", "LISTEN", "advisory lock", "temporary table"}

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
    "load": LIBRARY,
    "do": "DO block",
}
#: Nobody can tell from the text.
_UNREADABLE = "statement that can't be read"
_BEGIN_WORDS = frozenset({"begin", "start"})
#: SET that ends with the transaction; ``SET local.name`` is a setting of that name.
_LOCAL = re.compile(r"set\s+(local|constraints|transaction)\b(?!\s*\.)")
_TWO_PHASE = re.compile(r"prepare\s+transaction\b")
_WITH_HOLD = re.compile(r"\bwith\s+hold\b")
_IN_TEXT = (
    ("set_config", "SET"),
    ("pg_settings", "SET"),
    ("pg_advisory_", "advisory lock"),
    ("pg_try_advisory_", "advisory lock"),
    ("nextval", "sequence"),
    ("setval", "sequence"),
    ("temp", "temporary table"),
    ("setseed", SEED),
    ("set_limit", "SET"),
    ("dblink_connect", DBLINK),
    ("extension", EXTENDS),
    ('u&"', "name with escapes"),
)
_TEMPORARY = re.compile(
    r"\bcreate\s+(or\s+replace\s+)?((global|local)\s+)?temp(orary)?\s"
    r"|\binto\s+((global|local)\s+)?temp(orary)?(\s+[\w\"]|\")"
    r"|\bpg_temp\b"
)
_EXTENSION = re.compile(r"\bcreate\s+extension\b")
_XACT_LOCKS_ONLY = re.compile(r"pg_(try_)?advisory_(?!xact_)")
_SET_CONFIG_LOCAL = re.compile(r"set_config\s*\([^()]*,\s*true\s*\)")
_UPDATE = re.compile(r"\bupdate\b")
_WORD = re.compile(r"[\s(]*([a-z_]+)")
_LONG = 4096


def reasons(query: Any, connection: Any = None) -> frozenset[str]:
    """Why ``query`` ties its connection to its borrower; empty for the common case.

    ``query`` is what psycopg takes: a str, bytes or a composed statement.
    """
    if not isinstance(query, str):
        if isinstance(query, bytes):
            query = query.decode(errors="replace")
        elif isinstance(query, sql.Composable):
            query = query.as_string(connection)
        else:
            return frozenset({_UNREADABLE})
    # Long statements are bulk inserts that differ each time: to remember them would cost memory for nothing.
    return _remembered(query) if len(query) <= _LONG else _look(query)


def _look(query: str) -> frozenset[str]:
    text = query.lower()
    # In the whole of it, since the server may execute what stands in a literal.
    told = [each for each in _IN_TEXT if each[0] in text]
    # Most statements are one, without a comment: their first word is all there is to see.
    bare = skeleton(query) if told or any(mark in text for mark in (";", "--", "/*")) else text
    found = {_UNREADABLE} if bare is None else set()
    shown = text if bare is None else bare.lower()
    found.update(reason for part in shown.split(";") if (reason := _reason_by_first_word(part)) is not None)
    found.update(reason for token, reason in told if _is_meant(token, text, shown))
    return frozenset(found)


_remembered = lru_cache(maxsize=2048)(_look)


def _reason_by_first_word(part: str) -> str | None:
    found = _WORD.match(part)
    if found is None:
        return None
    word, rest = found.group(1), part[found.start(1) :]
    if word in _BEGIN_WORDS:
        return BEGINS
    reason = _FIRST_WORDS.get(word)
    if reason == "SET" and _LOCAL.match(rest):
        return None
    if reason == "PREPARE" and _TWO_PHASE.match(rest):
        return None
    if word == "declare" and not _WITH_HOLD.search(rest):
        return None
    return reason


def _is_meant(token: str, text: str, shown: str) -> bool:
    if token == "temp":
        return _TEMPORARY.search(shown) is not None
    if token == "extension":
        return _EXTENSION.search(shown) is not None
    if token == "pg_settings":
        return _UPDATE.search(shown) is not None
    if "advisory" in token:
        return _XACT_LOCKS_ONLY.search(text) is not None
    if token == "set_config":
        return len(_SET_CONFIG_LOCAL.findall(shown)) < text.count("set_config")
    return True
