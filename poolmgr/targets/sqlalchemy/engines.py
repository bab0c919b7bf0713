"""Engines of their own, of any dialect, whose pool is managed."""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext import asyncio as theirs

from poolmgr.exceptions import ConfigurationError, MissingLibrary
from poolmgr.secrets import Secret, hide
from poolmgr.targets.sqlalchemy.asyncio.pool import AsyncManagedQueuePool, dispose_of
from poolmgr.targets.sqlalchemy.driver import connecting
from poolmgr.targets.sqlalchemy.library import sqlalchemy
from poolmgr.targets.sqlalchemy.pool import ManagedQueuePool
from poolmgr.targets.sqlalchemy.resetting import spare_rollbacks

#: Drivers that know ``connect_timeout``, in whole seconds, and the least that all of them take.
_KNOW_A_TIMEOUT = frozenset({"psycopg", "psycopg2", "pymysql", "mysqldb"})
_LEAST = 2
#: Modules of drivers that an extra of ours installs.
_EXTRAS = {"asyncpg": "asyncpg"}


def create_engine(target: str, url: Any, *, pool: Any = None, **kw: Any) -> Any:
    """SQLAlchemy's ``create_engine(url, **kw)``, its pool being managed as ``target``.

    ``pool`` has the settings before any profile, by the profile's names. Raises ``InvalidSpec`` for wrong ones,
    ``ConfigurationError`` for a URL that can't have such a pool, and ``MissingLibrary`` where its driver isn't installed.
    """
    return _create(sqlalchemy.create_engine, ManagedQueuePool, target, url, pool, kw)


def create_async_engine(target: str, url: Any, *, pool: Any = None, **kw: Any) -> Any:
    """The same of SQLAlchemy's ``create_async_engine()``; the engine may be used from several event loops."""
    return _create(theirs.create_async_engine, AsyncManagedQueuePool, target, url, pool, kw)


def _create(create: Any, cls: Any, target: str, url: Any, pool: Any, kw: Any) -> Any:
    made = _hidden(sqlalchemy.engine.make_url(url))
    if not cls._is_asyncio and made.get_dialect().is_async:
        raise ConfigurationError(
            f"the dialect of {target!r} is asyncio's; its engine is made by create_async_engine(), or handed out by"
            " poolmgr.aio.pool()"
        )
    if "connect_args" in kw:
        hide(arguments := dict(kw["connect_args"]))
        kw = {**kw, "connect_args": arguments}
    if "poolclass" in kw:
        raise ConfigurationError(f"poolclass is set for {target!r}, whose pool is a {cls.__name__}; leave it out")
    missing = ""
    try:
        engine = create(made, poolclass=cls, target=target, settings=pool, address=address_of(made), **kw)
    except ImportError as ex:
        missing = _needed(ex)
    if missing:
        raise MissingLibrary(f"the engine of {target!r} needs {missing}")
    sync = getattr(engine, "sync_engine", engine)
    _expect_a_queue(sync.dialect.get_dialect_pool_class(made), target)
    _attend_to(sync)
    return engine


def _needed(error: ImportError) -> str:
    if error.name is None:
        return "a driver that can't be imported as it is installed"
    extra = _EXTRAS.get(error.name)
    return f"{error.name}, which is not installed" + (f": pip install 'poolmgr[{extra}]'" if extra else "")


def manage(engine: Any, *, target: str, pool: Any = None) -> Any:
    """Manage the pool of an engine that is there already, an asyncio one too, as ``target``; returns the engine.

    Its pool gives way to a managed one, with the listeners and the settings that it has but for those in ``pool``. What is
    idle is closed; what is in use is closed when it comes back. Raises as ``create_engine()`` does.
    """
    sync = getattr(engine, "sync_engine", engine)
    old = sync.pool
    if isinstance(old, ManagedQueuePool):
        raise ConfigurationError(f"the engine's pool is managed already, as {old._backing.target!r}")
    _expect_a_queue(type(old), target)
    words = {"pool_size": old.size(), "max_overflow": old._max_overflow} if "max_size" not in (pool or {}) else {}
    words |= {"timeout": old._timeout} if "connection_timeout" not in (pool or {}) else {}
    words |= {"recycle": old._recycle} if "max_lifetime" not in (pool or {}) else {}
    cls = AsyncManagedQueuePool if old._is_asyncio else ManagedQueuePool
    sync.pool = cls(
        old._creator,
        target=target,
        settings=pool,
        address=address_of(sync.url),
        pre_ping=old._pre_ping and "validation" not in (pool or {}),
        echo=old.echo,
        logging_name=old._orig_logging_name,
        reset_on_return=old._reset_on_return,
        dialect=sync.dialect,
        _dispatch=old.dispatch,
        **words,
    )
    _attend_to(sync)
    dispose_of(old) if old._is_asyncio else old.dispose()
    sqlalchemy.event.listen(old, "checkin", lambda connection, record: record.close())
    return engine


def _hidden(url: Any) -> Any:
    """The URL, and whatever SQLAlchemy makes of it, without showing its password to who prints locals."""
    hide(query := dict(url.query))
    return url.set(query=query, password=Secret(url.password)) if url.password else url.set(query=query)


def address_of(url: Any) -> str:
    """Where it leads, for people, with no secret."""
    if url.host is None:
        return str(url.database or "")
    port = f":{url.port}" if url.port else ""
    return f"{url.host}{port}/{url.database or ''}"


def _expect_a_queue(given: Any, target: str) -> None:
    if not issubclass(given, sqlalchemy.pool.QueuePool):
        raise ConfigurationError(
            f"the engine of {target!r} has a {given.__name__}, but a managed pool can only be in the place of a QueuePool:"
            " not of an in-memory database's, each connection of which is another database"
        )


def _attend_to(engine: Any) -> None:
    _bound_connects(engine)
    spare_rollbacks(engine.dialect)


def _bound_connects(engine: Any) -> None:
    """Have the driver give up a connect when nobody would wait for it any more, or when others may have its room."""
    backing = engine.pool._backing
    word = "connect_timeout"
    site_s: dict[str, Any] = {}

    def bound(dialect: Any, record: Any, cargs: Any, cparams: Any) -> None:
        if dialect.driver in _KNOW_A_TIMEOUT:
            # The same dictionary comes at every connect, and the settings may be others by then.
            own = site_s.setdefault(word, cparams.get(word))
            patience = backing.spec.connection_timeout
            left = connecting.timeout or patience
            cparams[word] = max(_LEAST, int(left)) if own is None or left < patience else own
        hide(cparams)
        if dialect.driver == "asyncpg" and isinstance(cparams.get("password"), Secret):
            cparams["password"] = _Told(cparams["password"])

    sqlalchemy.event.listen(engine, "do_connect", bound)


class _Told:
    """A password as asyncpg would be told one that rotates: what is no plain string it refuses."""

    def __init__(self, password: Secret) -> None:
        self._password = password

    def __call__(self) -> str:
        return str(self._password)
