"""The SQLAlchemy targets that the settings name: what TARGETS declares. It needs no SQLAlchemy.

An engine that code makes under another name shows by its heartbeats alone.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from poolmgr.pools import declaring
from poolmgr.pools.spec import PoolSpec
from poolmgr.targets.sqlalchemy.kind import SQLALCHEMY


def targets() -> tuple[str, ...]:
    """The names of those that the settings have, in their order."""
    return tuple(declaring.declared(SQLALCHEMY))


def bootstrap(target: str) -> PoolSpec | None:
    """The settings of a pool before any profile; None where they are wrong, which the system checks report."""
    return declaring.bootstrap_of(target, SQLALCHEMY)


def address(target: str) -> str:
    """Where it is, for people, with no secret."""
    try:
        got = urlsplit(declaring.declared(SQLALCHEMY)[target].url)
        if got.hostname is None:
            return got.path.removeprefix("/")
        return f"{got.hostname}{f':{got.port}' if got.port else ''}{got.path}"
    except ValueError:  # a port that is none
        return ""
