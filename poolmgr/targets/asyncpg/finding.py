"""The asyncpg targets that the settings name: what TARGETS declares. It needs no asyncpg."""

from __future__ import annotations

from urllib.parse import urlsplit

from django.conf import settings

from poolmgr.pools import declaring
from poolmgr.pools.spec import PoolSpec
from poolmgr.secrets import scrub
from poolmgr.targets.asyncpg.kind import ASYNCPG


def targets() -> tuple[str, ...]:
    """The names of those that the settings have, in their order."""
    return tuple(declaring.declared(ASYNCPG))


def bootstrap(target: str) -> PoolSpec | None:
    """The settings of a pool before any profile; None where they are wrong, which the system checks report."""
    return declaring.bootstrap_of(target, ASYNCPG)


def address(target: str) -> str:
    """Where it is, for people, with no secret."""
    each = declaring.declared(ASYNCPG)[target]
    return address_of_alias(each.rest["DATABASE"]) if "DATABASE" in each.rest else address_of(each.url)


def address_of(url: str) -> str:
    """The same of a URL."""
    try:
        got = urlsplit(url)
        return f"{got.hostname or 'local socket'}{f':{got.port}' if got.port else ''}{got.path}"
    except ValueError:  # a port that is none, several hosts
        return ""


def address_of_alias(alias: str) -> str:
    """The same of a database alias."""
    got = settings.DATABASES.get(alias, {})
    return scrub(f"{got.get('HOST') or 'local socket'}:{got.get('PORT') or 5432}/{got.get('NAME') or ''}")
