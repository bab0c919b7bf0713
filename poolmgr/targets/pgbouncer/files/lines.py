"""The lines of a file as PgBouncer reads them: only a line feed ends one."""

from __future__ import annotations

from collections.abc import Sequence

from poolmgr.exceptions import ConfigurationError


def split(text: str) -> list[str]:
    return text.removesuffix("\n").split("\n") if text else []


def join(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def one_line(value: str, what: str) -> str:
    """Raises ``ConfigurationError`` for what would end the line that it stands in."""
    if any(each in value for each in "\n\r\0"):
        raise ConfigurationError(f"{what} holds a line break, which no line of PgBouncer's files can")
    return value
