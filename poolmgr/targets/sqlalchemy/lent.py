"""An engine on the connections that Django has already: one max_size, one budget, one list of holders for both.

Django's connections are in autocommit mode, in which SQLAlchemy's begin() and rollback() would be nothing. So each is
taken out of it when it is lent, and is back in it before it is given back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self, cast
from weakref import ref

from django.db import DEFAULT_DB_ALIAS

from poolmgr.exceptions import CheckoutError, ModeError
from poolmgr.pools.forks import attend, here
from poolmgr.pools.lender import Lender
from poolmgr.pools.spec import PoolSpec
from poolmgr.targets.sqlalchemy.aliases import Engines, lender_of, url_of
from poolmgr.targets.sqlalchemy.errors import ERRORS
from poolmgr.targets.sqlalchemy.library import sqlalchemy
from poolmgr.targets.sqlalchemy.resetting import spare_rollbacks

_IDLE = 0  # libpq's
#: What Django's connection calls the pool that threads borrow from.
_POOL = "managed_pool"


class _Loan:
    """What a connection keeps from one loan to the next. It must not refer to the connection, whose pool counts who does.

    ``adapters`` are how Django has values read and written; ``key`` leads to the loan, weakly.
    """

    __slots__ = ("__weakref__", "adapters", "key", "lender")

    def __init__(self, lender: Lender, adapters: Any) -> None:
        self.lender = lender
        self.adapters = adapters
        self.key = ref(self)


class PoolWithoutConnections(sqlalchemy.pool.Pool):
    """What SQLAlchemy asks of a pool that has no connections of its own, but those of a database alias."""

    _alias: str

    def dispose(self) -> None:
        """Nothing: what is idle is the alias's, whose pool is closed by Django's means or recycled."""

    def recreate(self) -> Self:
        cls: Any = self.__class__
        return cls(  # type: ignore[no-any-return]
            alias=self._alias,
            echo=self.echo,
            logging_name=self._orig_logging_name,
            reset_on_return=self._reset_on_return,
            dialect=self._dialect,
            _dispatch=self.dispatch,
            **self._handed_down(),
        )

    def _handed_down(self) -> dict[str, Any]:
        """Arguments of a subclass's own."""
        return {}

    def status(self) -> str:
        """For people."""
        return f"on {self.lender!r}"

    @property
    def lender(self) -> Any:
        """The alias's pool, whichever that is in the present process. Raises ``ConfigurationError`` where it has none."""
        raise NotImplementedError


class LentPool(PoolWithoutConnections):
    """SQLAlchemy's pool that has no connections of its own: it borrows those of a database alias."""

    _is_asyncio = False

    def __init__(self, creator: Any = None, alias: str = DEFAULT_DB_ALIAS, **kw: Any) -> None:
        self._alias = alias
        self._found: Lender | None = None
        # SQLAlchemy's, one for each connection. They are this pool's, of which engines that are disposed of have had many.
        self._records: dict[ref[_Loan], Any] = {}
        super().__init__(cast(Any, self._hand), **kw)

    @property
    def lender(self) -> Lender:
        """The alias's pool in the present process. Raises ``ConfigurationError`` where it has none."""
        if not here:
            attend()
        found = self._found
        if found is None or found.retired:
            found = self._found = lender_of(self._alias, _POOL)
        return found

    # -- checkout and return ------------------------------------------------------------------------------------------

    def _do_get(self) -> Any:
        conn = self._borrow()
        try:
            record = self._records.get(conn.loan.key) or self._new_record(conn)
            # Django reads jsonb, ranges and addresses in a way of its own.
            conn._adapters = record.adapters
            if record.greets:
                self._greet(record, conn)
            else:
                record.dbapi_connection = conn
        except BaseException:
            self._give_back(conn)
            raise
        return record

    def _new_record(self, conn: Any) -> Any:
        for key in [*self._records]:
            if key() is None:  # its connection was closed
                self._records.pop(key, None)
        record = self._records[conn.loan.key] = new_record(self)
        record.greets, record.adapters = True, self._adapters_of(conn)
        return record

    def _greet(self, record: Any, conn: Any) -> None:
        """Have SQLAlchemy connect: it is handed what is there, and tells those who listen for connects."""
        record.dbapi_connection, record.handed = None, conn
        record.greets = True  # should a listener fail
        record.greets = conn.loan.lender.greet(conn, record.get_connection)

    def _hand(self, record: Any) -> Any:
        """What SQLAlchemy takes for a connect; in a borrower's hands it is one, in the place of a connection that broke."""
        if (conn := record.__dict__.pop("handed", None)) is not None:
            return conn
        conn = self._borrow()
        conn._adapters = record.adapters
        self._records.pop(conn.loan.key, None)
        return conn

    def _adapters_of(self, conn: Any) -> Any:
        template = cast(Any, self._dialect)._psycopg_adapters_map
        return conn.adapters if template is None else type(template)(template)

    def _do_return_conn(self, record: Any) -> None:
        conn = record.dbapi_connection
        if conn is None:
            return  # closed, and given back by that; or detached, and given back when it is closed
        if record._is_hard_or_soft_invalidated():
            record.close()
            return
        record.dbapi_connection = None
        self._give_back(conn)

    def _close_connection(self, connection: Any, *, terminate: bool = False) -> None:
        super()._close_connection(connection, terminate=terminate)
        self._give_back(connection)

    def _borrow(self) -> Any:
        if not here:
            attend()
        lender = self._found
        if lender is None or lender.retired:
            lender = self.lender
        expect_transactions(lender.spec, self._alias)
        failed = None
        try:
            conn = lender.checkout()
        except CheckoutError as ex:
            failed = ours(ex)
        if failed is not None:
            raise failed
        if "loan" not in conn.__dict__:
            conn.loan = _Loan(lender, conn.adapters)
        # Not by psycopg's setter, which would look again whether it is idle: that would cost as much as all the rest.
        conn._autocommit = False
        return conn

    def _give_back(self, conn: Any) -> None:
        loan = conn.loan
        conn._adapters = loan.adapters
        if conn.pgconn.transaction_status == _IDLE:
            conn._autocommit = True
        # With a transaction that is open still, the pool rolls back before it does so.
        loan.lender.put_back(conn)


def new_record(pool: Any) -> Any:
    """A record that is handed its connection, where those that the pool makes connect."""
    return sqlalchemy.pool.base._ConnectionRecord(pool, connect=False)


def ours(error: CheckoutError) -> CheckoutError:
    """The error of a checkout as one that is SQLAlchemy's too."""
    cls = next(ERRORS[each] for each in type(error).__mro__ if each in ERRORS)
    made = cls(str(error), error.target)
    made.__cause__ = error.__cause__
    return made


def expect_transactions(spec: PoolSpec, alias: str) -> None:
    """Raise ``ModeError`` where the alias is in statement mode."""
    if spec.pool_mode == "statement":
        raise ModeError(
            f"the pool of {alias!r} is in statement mode, and SQLAlchemy begins a transaction with its first"
            " statement; give the engine an alias of its own, or the pool another mode"
        )


def engine(using: str = DEFAULT_DB_ALIAS, **kw: Any) -> Any:
    """SQLAlchemy's engine on the managed pool of a database alias.

    Without other arguments the same one each time; with some, which are those of SQLAlchemy's ``create_engine()``, a new one,
    to be kept. Raises ``ConfigurationError`` where the alias has no managed pool.
    """
    return _make(using, **kw) if kw else _engines.get(using)


def _make(alias: str, **kw: Any) -> Any:
    lender_of(alias, _POOL)
    made = sqlalchemy.create_engine(url_of(alias), poolclass=LentPool, alias=alias, **kw)
    read_only_at_first(made.dialect, lambda conn, work: conn.loan.lender.read(conn, work))
    spare_rollbacks(made.dialect)
    return made


_engines = Engines(_make)


def read_only_at_first(dialect: Any, read: Callable[[Any, Callable[[], object]], object]) -> None:
    """Have the driver's connection be told by ``read`` that what ``dialect`` asks at its first connect only reads.

    psycopg looks for types with cursors of its own, which nobody has a look at.
    """
    initialize = dialect.initialize

    def only_read(connection: Any) -> None:
        read(connection.connection.driver_connection, lambda: initialize(connection))

    dialect.initialize = only_read
