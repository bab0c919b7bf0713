"""A statement without its comments and with nothing in its literals: what is left shows which statements it is."""

from __future__ import annotations

import re

#: Where something begins that may hold anything: a string, a quoted name, a dollar-quoted string, a comment.
_OPENING = re.compile(r"""(?<![\w$])e'|'|"|(?<![\w$])\$(?:[^\W\d]\w*)?\$|--|/\*""")
#: What ends them: doubled quotes are part of the literal, and so is what follows a backslash in an E'string'.
_STRING = re.compile(r"[^']*(?:''[^']*)*'")
_ESCAPED = re.compile(r"[^'\\]*(?:(?:\\.|'')[^'\\]*)*'", re.DOTALL)
_NAME = re.compile(r'[^"]*(?:""[^"]*)*"')
_LINE = re.compile(r"[^\n]*")
_COMMENT_EDGE = re.compile(r"/\*|\*/")


def skeleton(text: str) -> str | None:
    """``text``, in lower case, with a space for each comment and ``''`` for each string; quoted names stay as they are.

    None when something in it does not end: then the server reads it in another way than we do, if it takes it at all.
    """
    parts: list[str] = []
    position = 0
    while opening := _OPENING.search(text, position):
        parts.append(text[position : opening.start()])
        mark, position = opening.group(), _end_of(text, opening)
        if position < 0:
            return None
        parts.append(text[opening.start() : position] if mark == '"' else " " if mark in ("--", "/*") else "''")
    parts.append(text[position:])
    return "".join(parts)


def _end_of(text: str, opening: re.Match[str]) -> int:
    """Where that which begins at ``opening`` is over, or -1."""
    mark, start = opening.group(), opening.end()
    if mark == "/*":
        return _end_of_comment(text, start)
    if mark[0] == "$":
        found = text.find(mark, start)
        return found + len(mark) if found >= 0 else -1
    pattern = {"'": _STRING, '"': _NAME, "--": _LINE}.get(mark, _ESCAPED)
    ending = pattern.match(text, start)
    return ending.end() if ending else -1


def _end_of_comment(text: str, position: int) -> int:
    # PostgreSQL's comments nest.
    depth = 1
    while depth:
        edge = _COMMENT_EDGE.search(text, position)
        if edge is None:
            return -1
        depth += 1 if edge.group() == "/*" else -1
        position = edge.end()
    return position
