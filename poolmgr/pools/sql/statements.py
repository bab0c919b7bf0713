"""A statement as an operator may read it: which one it is, and none of the values in it."""

from __future__ import annotations

import re
from typing import Any

from psycopg import sql

from poolmgr.metrics.words import plain
from poolmgr.pools.sql.skeleton import skeleton, skeleton_of_the_begin
from poolmgr.secrets import scrub

#: Characters that are looked at, and those of them that are told.
_LOOKED_AT, _LONGEST = 5000, 300
_NUMBER = re.compile(r"(?<![\w$.])[+-]?\d[\w.]*")
#: Where it is known that backslashes escape; a server may have them do so in every string, and then nobody knows its end.
_ESCAPES = re.compile(r"\be'", re.IGNORECASE)
_SPACE = re.compile(r"\s+")
UNREADABLE = "a statement that can't be told"


def told_statement(query: Any, cut: bool = False) -> str:
    """``query`` as a cursor was given it, with a ``?`` for each value in its text; parameters are none of it.

    Its end may be ``cut`` off, as a server does that tells the first thousand characters or so.
    """
    text = _text(query)
    if text is None:
        return UNREADABLE
    text, cut = text[:_LOOKED_AT], cut or len(text) > _LOOKED_AT
    bare = skeleton_of_the_begin(text) if cut else skeleton(text)
    if bare is None or ("\\'" in text and not _ESCAPES.search(text)):
        return UNREADABLE
    bare = _SPACE.sub(" ", _NUMBER.sub("?", bare.replace("''", "?"))).strip()
    bare = bare if len(bare) <= _LONGEST else bare[: _LONGEST - 1] + "…"
    return scrub(plain(bare))


def _text(query: Any) -> str | None:
    try:
        if isinstance(query, sql.Composable):
            return query.as_string(None)
        return query.decode(errors="replace") if isinstance(query, bytes) else query if isinstance(query, str) else None
    except Exception:  # parts of the site's own making
        return None
