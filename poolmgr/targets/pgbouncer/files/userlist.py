"""A PgBouncer's auth_file: users with passwords or verifiers. Of those that nobody asks about nothing is changed."""

from __future__ import annotations

import re

from poolmgr.targets.pgbouncer.files.lines import join, one_line, split
from poolmgr.targets.pgbouncer.files.verifiers import is_verifier

_ENTRY = re.compile(r'\s*"((?:[^"]|"")*)"\s+"((?:[^"]|"")*)"(.*)', re.DOTALL)


class Userlist:
    def __init__(self, text: str) -> None:
        self._lines = split(text)

    @property
    def text(self) -> str:
        return join(self._lines)

    def get(self, user: str) -> str | None:
        found = [entry for _, name, entry in self._read() if name == user]
        return found[-1] if found else None

    @property
    def users(self) -> list[str]:
        """Those who may log in by it."""
        return [name for _, name, _ in self._read()]

    def set(self, user: str, entry: str) -> None:
        one_line(user, "a user's name")
        line = f"{_quoted(user)} {_quoted(one_line(entry, f'the password of {user!r}'))}"
        if places := [number for number, name, _ in self._read() if name == user]:
            self._lines[places[-1]] = line
        else:
            self._lines.append(line)

    def _read(self) -> list[tuple[int, str, str]]:
        pairs = ((number, _ENTRY.match(line)) for number, line in enumerate(self._lines))
        return [(n, pair[1].replace('""', '"'), pair[2].replace('""', '"')) for n, pair in pairs if pair]


def masked(line: str) -> str:
    """A line of it without what lets anybody in."""
    if (pair := _ENTRY.match(line)) is None:
        # Also a comment may be an entry that somebody took out.
        return line if not line.strip() or '"' not in line else "***"
    kind = pair[2].partition("$")[0] + "$" if pair[2].startswith("SCRAM-SHA-256$") else ""
    kind = kind or ("md5" if is_verifier(pair[2]) else "")
    return f'"{pair[1]}" "{kind}***"'


def _quoted(text: str) -> str:
    doubled = text.replace('"', '""')
    return f'"{doubled}"'
