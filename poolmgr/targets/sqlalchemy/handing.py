"""The engine of a declared target for the site's own code: one in each process."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from poolmgr.conf import Declared
from poolmgr.exceptions import ConfigurationError
from poolmgr.pools import declaring
from poolmgr.pools.handed import OneOfEach
from poolmgr.secrets import HIDDEN
from poolmgr.targets.sqlalchemy.engines import create_async_engine, create_engine
from poolmgr.targets.sqlalchemy.kind import SQLALCHEMY
from poolmgr.targets.sqlalchemy.library import sqlalchemy

_engines: OneOfEach[Any] = OneOfEach("POOLMGR")
_async_engines: OneOfEach[Any] = OneOfEach("POOLMGR")


def pool(target: str) -> Any:
    """SQLAlchemy's engine, whose pool is the target's.

    Raises ``KeyError`` for one that the settings don't name, ``ConfigurationError`` for a URL that is of no use here.
    """
    return _engines.get(target, partial(_make, create_engine, declaring.declared(SQLALCHEMY)[target]))


def async_pool(target: str) -> Any:
    """The same for event loops: its asyncio engine."""
    return _async_engines.get(target, partial(_make, create_async_engine, declaring.declared(SQLALCHEMY)[target]))


def expect(target: str) -> None:
    """Raises what whichever of the two it is for does."""
    (async_pool if is_only_asyncio_s(target) else pool)(target)


def is_only_asyncio_s(target: str) -> bool:
    """Whether its dialect has no sync engines; False where that can't be told, which ``pool()`` then refuses."""
    with suppress(sqlalchemy.exc.ArgumentError, ImportError):
        return bool(sqlalchemy.engine.make_url(declaring.declared(SQLALCHEMY)[target].url).get_dialect().is_async)
    return False


def _make(create: Callable[..., Any], each: Declared) -> Any:
    """Raises ``ConfigurationError`` too where SQLAlchemy can't read the URL, or has no such dialect."""
    wrong = ""
    try:
        return create(each.target, each.url, pool=each.pool)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        wrong = "a URL that SQLAlchemy can read, of a dialect that it has"
    except sqlalchemy.exc.InvalidRequestError:
        wrong = "of a dialect that asyncio has"
    raise ConfigurationError(f"{each.where}['URL'] is {HIDDEN}, but must be {wrong}")
