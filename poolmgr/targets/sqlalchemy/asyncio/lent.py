"""An asyncio engine on the connections that Django has already: tasks, threads and Django share one pool.

psycopg's connection for asyncio is made for the one loan, over a connection of the pool's. So each loan is a connect to
SQLAlchemy, which costs the server nothing, and nothing that a borrower sets on it outlives the loan.
"""

from __future__ import annotations

from typing import Any, cast
from weakref import WeakSet

from django.db import DEFAULT_DB_ALIAS
from sqlalchemy.engine import AdaptedConnection
from sqlalchemy.ext import asyncio as theirs

from poolmgr.exceptions import CheckoutError
from poolmgr.pools.aio.forgotten import is_suspended, users_of
from poolmgr.pools.forks import on_fork
from poolmgr.pools.lender import TaskLender
from poolmgr.targets.sqlalchemy.aliases import Engines, lender_of, url_of
from poolmgr.targets.sqlalchemy.asyncio.driver import may_go_on
from poolmgr.targets.sqlalchemy.asyncio.first import First
from poolmgr.targets.sqlalchemy.asyncio.greenlets import await_only
from poolmgr.targets.sqlalchemy.lent import (
    PoolWithoutConnections,
    expect_transactions,
    new_record,
    ours,
    read_only_at_first,
)
from poolmgr.targets.sqlalchemy.resetting import spare_rollbacks

#: What Django's connection calls the pool that tasks borrow from.
_POOL = "pool_for_tasks"
_all: WeakSet[AsyncLentPool] = WeakSet()


class AsyncLentPool(PoolWithoutConnections):
    """SQLAlchemy's pool that has no connections of its own: tasks of all event loops borrow those of a database alias."""

    _is_asyncio = True

    def __init__(
        self, creator: Any = None, alias: str = DEFAULT_DB_ALIAS, _first: First | None = None, **kw: Any
    ) -> None:
        self._alias = alias
        self._first = _first or First()
        self._found: TaskLender | None = None
        super().__init__(cast(Any, self._hand), **kw)
        _all.add(self)

    @property
    def lender(self) -> TaskLender:
        """The alias's pool, whichever that is in the present process. Raises ``ConfigurationError`` where it has none."""
        if (found := self._found) is None:
            found = self._found = lender_of(self._alias, _POOL)
        return found

    def _do_get(self) -> Any:
        if self._first.is_over:
            return self._connected()
        first, well = await_only(self._first.turn()), False
        try:
            made = self._connected()
            well = True
        finally:
            if first:
                self._first.ended(well)
        return made

    def _connected(self) -> Any:
        """A record with what it was handed. Where a listener fails or is cancelled, SQLAlchemy 2.0 forgets that."""
        made = new_record(self)
        try:
            made.get_connection()
        except BaseException:
            if (handed := made.__dict__.get("handed")) is not None:
                self._close_connection(handed, terminate=True)
            raise
        del made.handed
        return made

    def _do_return_conn(self, returned: Any) -> None:
        if returned._is_hard_or_soft_invalidated() and returned.dbapi_connection is not None:
            self._end(returned.dbapi_connection)
        returned.close()

    def _close_connection(self, connection: Any, *, terminate: bool = False) -> None:
        # The same for one that is detached, and for one that the garbage collector finds: it waits for nothing.
        if terminate:
            self._end(connection)
        driver_s = self._driver_s(connection)
        driver_s.lender.give_back(driver_s)

    def _end(self, connection: Any) -> None:
        self._driver_s(connection).end()

    def _driver_s(self, connection: Any) -> Any:
        return self._dialect.get_driver_connection(connection)

    def _hand(self, to: Any) -> Any:
        """What SQLAlchemy takes for a connect, of a record."""
        dbapi = cast(Any, self._dialect).loaded_dbapi
        to.handed = dbapi.connect(async_creator_fn=self._borrow)
        return to.handed

    async def _borrow(self) -> Any:
        lender = self.lender
        expect_transactions(lender.spec, self._alias)
        failed = None
        try:
            conn = await lender.checkout()
        except CheckoutError as ex:
            failed = ours(ex)
        if failed is not None:
            raise failed
        conn.begin_loan(cast(Any, self._dialect)._psycopg_adapters_map, _is_kept_by)
        return conn

    def _handed_down(self) -> dict[str, Any]:
        return {"_first": self._first}


def _is_kept_by(user: Any) -> bool:
    """SQLAlchemy's adapter of the driver's connection keeps it if somebody may go on with that."""
    return isinstance(user, AdaptedConnection) and any(is_suspended(each) or may_go_on(each) for each in users_of(user))


def async_engine(using: str = DEFAULT_DB_ALIAS, **kw: Any) -> Any:
    """SQLAlchemy's ``AsyncEngine`` on the managed pool of a database alias, for all event loops.

    Without other arguments the same one each time; with some, which are those of SQLAlchemy's ``create_async_engine()``, a
    new one, to be kept. Raises ``ConfigurationError`` where the alias has no managed pool.
    """
    return _make(using, **kw) if kw else _engines.get(using)


def _make(alias: str, **kw: Any) -> Any:
    lender_of(alias, _POOL)
    made = theirs.create_async_engine(url_of(alias), poolclass=AsyncLentPool, alias=alias, **kw)
    read_only_at_first(made.dialect, lambda conn, work: conn.read(work))
    spare_rollbacks(made.dialect)
    return made


_engines = Engines(_make)


def _after_fork() -> None:
    for each in list(_all):
        each._first.begin_anew()


on_fork(_after_fork)
