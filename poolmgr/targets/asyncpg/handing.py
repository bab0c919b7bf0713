"""The pool of a declared target for the site's own code: one in each process, for all its event loops."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.utils.module_loading import import_string

from poolmgr.conf import Declared
from poolmgr.exceptions import ConfigurationError
from poolmgr.pools import declaring
from poolmgr.pools.handed import OneOfEach
from poolmgr.targets.asyncpg.arguments import expect_options, of_alias, of_url, role_of
from poolmgr.targets.asyncpg.finding import address
from poolmgr.targets.asyncpg.kind import ASYNCPG
from poolmgr.targets.asyncpg.making import Maker
from poolmgr.targets.asyncpg.pool import AsyncpgPool
from poolmgr.targets.asyncpg.vectors import expect_pgvector

_pools: OneOfEach[AsyncpgPool] = OneOfEach("POOLMGR")


def pool(target: str) -> Any:
    """Raises ``ConfigurationError``: threads have none."""
    raise ConfigurationError(f"{target!r} is for asyncio alone, which poolmgr.aio.pool({target!r}) is for")


def async_pool(target: str) -> AsyncpgPool:
    """asyncpg's words for a pool. Raises ``ConfigurationError`` for a declaration that is of no use, ``InvalidSpec``."""
    return _pools.get(target, partial(_make, declaring.declared(ASYNCPG)[target]))


#: What the system checks call.
expect = async_pool


def _make(each: Declared) -> AsyncpgPool:
    setup = _imported(each, "SETUP")
    return AsyncpgPool(maker_of(each), target=each.target, pool=each.pool, setup=setup, address=address(each.target))


def maker_of(each: Declared) -> Maker:
    """What makes the connections of a declared target. Raises ``ConfigurationError``."""
    alias, options, vector = each.rest.get("DATABASE"), each.rest.get("OPTIONS") or {}, bool(each.rest.get("VECTOR"))
    if (alias is None) == (not each.url):
        raise ConfigurationError(
            f"{each.where} must have one of URL and DATABASE, and has {'none' if alias is None else 'both'}"
        )
    expect_options(options, f"{each.where}['OPTIONS']")
    if vector:
        expect_pgvector(each.target)
    init = _imported(each, "INIT")
    if alias is None:
        return Maker(of_url(each.url, options), vector=vector, init=init)
    return Maker(of_alias(alias, options), role=partial(role_of, alias), vector=vector, init=init)


def _imported(each: Declared, key: str) -> Any:
    path = each.rest.get(key)
    if path is None:
        return None
    why = ""
    try:
        found = import_string(path)
        if callable(found):
            return found
        why = "which is nothing that can be called"
    except ImportError as ex:
        why = f"which can't be imported: {ex}"
    raise ConfigurationError(f"{each.where}[{key!r}] is {path!r}, {why}")
