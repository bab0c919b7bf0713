"""A pgbouncer.ini of which values are changed; whatever else stands in it stays as it is, comments and order too."""

from __future__ import annotations

from collections.abc import Iterator

from poolmgr.exceptions import ConfigurationError
from poolmgr.targets.pgbouncer.files.lines import join, one_line, split

MAIN, DATABASES, USERS = "pgbouncer", "databases", "users"
_SINGLE = (MAIN,)
_COMMENT = ";#"


class Ini:
    """Of what is said twice PgBouncer takes the last, and so does this.

    Raises ``ConfigurationError`` for what it can't edit.
    """

    def __init__(self, text: str, name: str) -> None:
        self._lines = split(text)
        for line in self._lines:
            _, _, more = line.strip().partition("]")
            if line.strip().startswith("[") and more.strip() and more.strip()[0] not in _COMMENT:
                raise ConfigurationError(
                    f"{name} has more than a section's name in a line, which is not edited: {line.strip()}"
                )
        headers = [section for _, section, key, _ in self._read() if not key]
        if twice := [each for each in _SINGLE if headers.count(each) > 1]:
            raise ConfigurationError(
                f"{name} has the section [{twice[0]}] more than once, of which PgBouncer takes the last alone: make one of"
                " them"
            )

    @property
    def text(self) -> str:
        return join(self._lines)

    @property
    def includes(self) -> bool:
        """Whether it takes in other files, of which nothing is known here."""
        return any(line.strip().startswith("%include") for line in self._lines)

    def get(self, section: str, key: str) -> str | None:
        found = [value for _, where, name, value in self._read() if (where, name) == (section, key)]
        return found[-1] if found else None

    def items(self, section: str) -> dict[str, str]:
        return {name: value for _, where, name, value in self._read() if where == section and name}

    def set(self, section: str, key: str, value: str) -> None:
        """Change it where it stands, else put it behind the last of its section."""
        one_line(value, key)
        if self.get(section, key) == value:
            return
        places = [n for n, where, name, _ in self._read() if (where, name) == (section, key)]
        if places:
            self._lines[places[-1]] = f"{self._lines[places[-1]].partition('=')[0].rstrip()} = {value}"
            return
        last = [n for n, where, _, _ in self._read() if where == section]
        if not last:
            self._lines += [*([""] if self._lines else []), f"[{section}]"]
            last = [len(self._lines) - 1]
        self._lines.insert(last[-1] + 1, f"{key} = {value}")

    def _read(self) -> Iterator[tuple[int, str, str, str]]:
        """Line number, section, key and value; of a section's own line both are empty."""
        section = ""
        for number, raw in enumerate(self._lines):
            line = raw.strip()
            if line.startswith("[") and "]" in line:
                section = line[1:].partition("]")[0].strip()
                yield number, section, "", ""
            elif line and line[0] not in f"{_COMMENT}%" and "=" in line:
                key, _, value = line.partition("=")
                yield number, section, key.strip(), value.strip()
