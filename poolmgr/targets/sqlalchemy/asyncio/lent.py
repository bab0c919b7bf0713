"""An asyncio engine on the connections that Django has already: tasks, threads and Django share one pool.

psycopg's connection for asyncio is made for the one loan, over a connection of the pool's, and nothing that a borrower sets
on it outlives the loan. What SQLAlchemy has prepared on one is there again at the next loan of the same session.
"""

from __future__ import annotations

from functools import partial
from typing import Any, cast
from weakref import WeakSet, ref

from django.db import DEFAULT_DB_ALIAS
from sqlalchemy.engine import AdaptedConnection
from sqlalchemy.ext import asyncio as theirs

from poolmgr.exceptions import CheckoutError
from poolmgr.pools.aio.forgotten import is_suspended, users_of
from poolmgr.pools.forks import on_fork
from poolmgr.pools.lender import Greeting, TaskLender
from poolmgr.targets.sqlalchemy.aliases import Engines, lender_of, url_of
from poolmgr.targets.sqlalchemy.asyncio.adapting import adapted
from poolmgr.targets.sqlalchemy.asyncio.driver import may_go_on
from poolmgr.targets.sqlalchemy.asyncio.first import First
from poolmgr.targets.sqlalchemy.asyncio.greenlets import await_only, in_greenlet
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
        # SQLAlchemy's, one for each session of the alias's pool.
        self._records: dict[ref[Any], Any] = {}
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
            return self._lent()
        first, well = await_only(self._first.turn()), False
        try:
            made = self._lent()
            well = True
        finally:
            if first:
                self._first.ended(well)
        return made

    def _lent(self) -> Any:
        """A record with a connection, which SQLAlchemy takes for the one that it has made of the record."""
        handed = self._connect()
        try:
            conn = self._driver_s(handed)
            # A session whose borrower never returned it is closed: nobody is lent the record that they have still.
            record = self._records.get(conn.session) or self._new_record(conn.session)
            conn.begin_loan(record.greeting, _is_kept_by)
            if record.greeting.lasts:
                record.dbapi_connection = handed
            else:
                self._greet(record, handed, conn)
        except BaseException:
            self._close_connection(handed, terminate=True)
            raise
        return record

    def _new_record(self, session: Any) -> Any:
        for each in [*self._records]:
            if each() is None:  # its session is over
                self._records.pop(each, None)
        record = self._records[session] = new_record(self)
        record.greeting = self._as_at_first()
        return record

    def _as_at_first(self) -> Greeting:
        return Greeting(cast(Any, self._dialect)._psycopg_adapters_map)

    def _greet(self, record: Any, handed: Any, conn: Any) -> None:
        """Have SQLAlchemy connect: it is handed what is there, and tells those who listen for connects."""
        record.dbapi_connection, record.handed = None, handed
        greeting = conn.greet(record.get_connection)
        if greeting.lasts:
            record.greeting = greeting

    def _hand(self, record: Any) -> Any:
        """What SQLAlchemy takes for a connect; in a borrower's hands it is one, in the place of a connection that broke."""
        if (handed := record.__dict__.pop("handed", None)) is not None:
            return handed
        handed = self._connect()
        conn = self._driver_s(handed)
        conn.begin_loan(self._as_at_first(), _is_kept_by)
        # The record is that loan's alone: what has prepared one session is not on the other.
        for session, each in [*self._records.items()]:
            if each is record:
                self._records.pop(session, None)
        return handed

    def _do_return_conn(self, record: Any) -> None:
        handed = record.dbapi_connection
        if handed is None:
            return  # closed, and given back by that; or detached, and given back when it is closed
        if record._is_hard_or_soft_invalidated():
            self._end(handed)
            record.close()
            return
        record.dbapi_connection = None
        self._give_back(handed)

    def _close_connection(self, connection: Any, *, terminate: bool = False) -> None:
        # The same for one that is detached, and for one that the garbage collector finds: it waits for nothing.
        if terminate:
            self._end(connection)
        self._give_back(connection)

    def _give_back(self, handed: Any) -> None:
        conn = self._driver_s(handed)
        conn.lender.give_back(conn)

    def _end(self, handed: Any) -> None:
        self._driver_s(handed).end()

    def _driver_s(self, handed: Any) -> Any:
        return self._dialect.get_driver_connection(handed)

    def _connect(self) -> Any:
        """A connection of the alias's pool, adapted as SQLAlchemy adapts one that it has made."""
        lender = self.lender
        expect_transactions(lender.spec, self._alias)
        driver = cast(Any, self._dialect).loaded_dbapi
        # Where none is awaited, SQLAlchemy's code doesn't leave its greenlet, which takes as long as all the rest.
        if in_greenlet() and (conn := lender.at_once()) is not None:
            return adapted(driver, conn)
        return driver.connect(async_creator_fn=partial(_borrow, lender))

    def _handed_down(self) -> dict[str, Any]:
        return {"_first": self._first}


async def _borrow(lender: TaskLender) -> Any:
    failed = None
    try:
        return await lender.checkout()
    except CheckoutError as ex:
        failed = ours(ex)
    raise failed


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
