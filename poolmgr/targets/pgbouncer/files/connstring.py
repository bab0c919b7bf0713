"""What stands behind the name of a database in pgbouncer.ini: words with values, which may be in quotes."""

from __future__ import annotations

import re
from collections.abc import Mapping

_PAIR = re.compile(r"\s*(\w+)\s*=\s*(?:'((?:[^']|'')*)'|([^\s']*))(?=\s|$)")
_PLAIN = re.compile(r"[^\s'=]+")
_SUBSTITUTE = "***"


def parse(text: str) -> dict[str, str] | None:
    """Its words in their order; None for what PgBouncer could not read either."""
    found, at = {}, 0
    while at < len(text.rstrip()):
        if (pair := _PAIR.match(text, at)) is None:
            return None
        quoted = pair[2]
        found[pair[1]] = pair[3] if quoted is None else quoted.replace("''", "'")
        at = pair.end()
    return found


def render(words: Mapping[str, str]) -> str:
    return " ".join(f"{word}={_quoted(value)}" for word, value in words.items())


def masked(text: str) -> str:
    """Without the password; of what can't be read nothing."""
    words = parse(text)
    if words is None:
        return _SUBSTITUTE
    return render({word: _SUBSTITUTE if "pass" in word.lower() else value for word, value in words.items()})


def _quoted(value: str) -> str:
    if _PLAIN.fullmatch(value):
        return value
    doubled = value.replace("'", "''")
    return f"'{doubled}'"
