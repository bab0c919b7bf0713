"""The engine of a declared target for the site's own code: one in each process."""

from __future__ import annotations

from functools import partial
from typing import Any

from poolmgr.conf import Declared
from poolmgr.exceptions import ConfigurationError
from poolmgr.pools import declaring
from poolmgr.pools.handed import OneOfEach
from poolmgr.secrets import HIDDEN
from poolmgr.targets.sqlalchemy.engines import create_engine
from poolmgr.targets.sqlalchemy.kind import SQLALCHEMY
from poolmgr.targets.sqlalchemy.library import sqlalchemy

_engines: OneOfEach[Any] = OneOfEach("POOLMGR")


def pool(target: str) -> Any:
    """SQLAlchemy's engine, whose pool is the target's.

    Raises ``KeyError`` for one that the settings don't name, ``ConfigurationError`` for a URL that is of no use here.
    """
    return _engines.get(target, partial(_make, declaring.declared(SQLALCHEMY)[target]))


def _make(each: Declared) -> Any:
    """Raises ``ConfigurationError`` too where SQLAlchemy can't read the URL, or has no such dialect or driver."""
    wrong = ""
    try:
        return create_engine(each.target, each.url, pool=each.pool)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        wrong = "a URL that SQLAlchemy can read, of a dialect that it has"
    except ImportError as ex:
        wrong = f"of a driver that is installed, which {ex.name} is not"
    raise ConfigurationError(f"{each.where}['URL'] is {HIDDEN}, but must be {wrong}")
