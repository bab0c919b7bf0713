"""A statement without its comments and with nothing in its literals: what is left shows which statements it is."""

from __future__ import annotations

import re

#: PostgreSQL counts every character beyond ASCII as a letter.
_LETTER = r"\w\x80-\U0010ffff"
#: Where something begins that may hold anything: a string, a quoted name, a dollar-quoted string, a comment.
_OPENING = re.compile(
    rf"""(?<![{_LETTER}$])e'|'|"|(?<![{_LETTER}$])\$(?:[a-z_\x80-\U0010ffff][{_LETTER}]*)?\$|--|/\*""",
    re.ASCII | re.IGNORECASE,
)
#: What ends them: doubled quotes are part of the literal, and so is what follows a backslash in an E'string'.
_STRING = re.compile(r"[^']*(?:''[^']*)*'")
_ESCAPED = re.compile(r"[^'\\]*(?:(?:\\.|'')[^'\\]*)*'", re.DOTALL)
_NAME = re.compile(r'[^"]*(?:""[^"]*)*"')
_LINE = re.compile(r"[^\n\r]*")
_COMMENT_EDGE = re.compile(r"/\*|\*/")
#: A string that goes on in another line, with the rules that it began with.
_GOES_ON = re.compile(r"(?>(?:[ \t\f\v]|--[^\n\r]*)*)[\n\r](?>(?:\s|--[^\n\r]*)*)'")


def skeleton(text: str) -> str | None:
    """``text`` with a space for each comment and ``''`` for each string; quoted names stay as they are.

    None when something in it does not end, or is beyond us: then the server reads it in another way, if it takes it at all.
    """
    found, is_whole = _bare(text)
    return found if is_whole else None


def skeleton_of_the_begin(text: str) -> str:
    """The same of a text whose end may be cut off: what begins and does not end is left out, with all that follows."""
    return _bare(text)[0]


def _bare(text: str) -> tuple[str, bool]:
    """What is left of the text, and whether all of it was read."""
    parts: list[str] = []
    position = 0
    while opening := _OPENING.search(text, position):
        parts.append(text[position : opening.start()])
        mark, position = opening.group(), _end_of(text, opening)
        if position < 0:
            return "".join(parts), False
        parts.append(text[opening.start() : position] if mark == '"' else " " if mark in ("--", "/*") else "''")
    parts.append(text[position:])
    return "".join(parts), True


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
    if ending is None or (pattern is _ESCAPED and _GOES_ON.match(text, ending.end())):
        return -1
    return ending.end()


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
