"""SQLAlchemy: engines whose pool is managed, and engines on the connections that Django has already.

What it gives is found at first use, so that a process without SQLAlchemy can show such targets.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from poolmgr.targets.sqlalchemy.asyncio.lent import async_engine
    from poolmgr.targets.sqlalchemy.engines import create_async_engine, create_engine, manage
    from poolmgr.targets.sqlalchemy.lent import engine

__all__ = ["async_engine", "create_async_engine", "create_engine", "engine", "manage"]

_MODULES = {
    "async_engine": "asyncio.lent",
    "create_async_engine": "engines",
    "create_engine": "engines",
    "engine": "lent",
    "manage": "engines",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
