"""The engine of a declared target for the site's own code: one in each process."""

from __future__ import annotations

from threading import Lock
from typing import Any

from django.core.signals import setting_changed

from poolmgr.conf import Declared
from poolmgr.exceptions import ConfigurationError
from poolmgr.pools import declaring, registry
from poolmgr.pools.forks import on_fork
from poolmgr.secrets import HIDDEN
from poolmgr.targets.sqlalchemy.engines import create_engine
from poolmgr.targets.sqlalchemy.kind import SQLALCHEMY
from poolmgr.targets.sqlalchemy.library import sqlalchemy

_engines: dict[str, Any] = {}
_lock = Lock()


def pool(target: str) -> Any:
    """SQLAlchemy's engine, whose pool is the target's.

    Raises ``KeyError`` for one that the settings don't name, ``ConfigurationError`` for a URL that is of no use here.
    """
    each = declaring.declared(SQLALCHEMY)[target]
    with _lock:
        found = _engines.get(target)
        if found is None:
            found = _engines[target] = _make(each)
    return found


def _make(each: Declared) -> Any:
    """Raises ``ConfigurationError`` too where SQLAlchemy can't read the URL, or has no such dialect or driver."""
    wrong = ""
    try:
        return create_engine(each.target, each.url, pool=each.pool)
    except sqlalchemy.exc.ArgumentError:
        wrong = "a URL that SQLAlchemy can read, of a dialect that it has"
    except ImportError as ex:
        wrong = f"of a driver that is installed, which {ex.name} is not"
    raise ConfigurationError(f"{each.where}['URL'] is {HIDDEN}, but must be {wrong}")


def _forget(*, setting: str, **kwargs: Any) -> None:
    """Have targets that are declared anew, as tests do, get engines of their own."""
    if setting == "POOLMGR":
        with _lock:
            gone = list(_engines)
            _engines.clear()
        for target in gone:
            registry.close(target)


def _after_fork() -> None:
    global _lock
    _lock = Lock()


setting_changed.connect(_forget, dispatch_uid="poolmgr.targets.sqlalchemy.handing")
on_fork(_after_fork)
