"""ManagedQueuePool: what SQLAlchemy's engines call, on a pool that is managed."""

from __future__ import annotations

from time import monotonic
from typing import Any

from poolmgr.exceptions import PoolClosed
from poolmgr.pools.core.pool import CorePool
from poolmgr.pools.lane import on_console_lane
from poolmgr.pools.sockets import Ear
from poolmgr.secrets import disarm
from poolmgr.targets.sqlalchemy.backing import Backing
from poolmgr.targets.sqlalchemy.driver import connecting
from poolmgr.targets.sqlalchemy.library import sqlalchemy
from poolmgr.targets.sqlalchemy.pooler import is_behind_pooler
from poolmgr.targets.sqlalchemy.stopping import listen_for_the_end
from poolmgr.targets.sqlalchemy.words import bootstrap_of

#: Seconds for which a borrower that connects again waits for the server to close what they had.
LINGER = 0.5


class ManagedQueuePool(sqlalchemy.pool.Pool):
    """SQLAlchemy's pool, for ``create_engine(poolclass=…)``, with live settings and operations.

    ``target`` is its name for profiles, dashboard and budget; a pool without one is nobody's but its maker's. ``settings``
    has the settings before any profile, by the profile's names; ``pool_size``, ``max_overflow``, ``timeout``, ``recycle``
    and ``pre_ping`` are SQLAlchemy's words for some of them. ``address`` is for people. All else is as in QueuePool.

    Raises ``InvalidSpec`` and ``ConfigurationError`` for wrong settings.
    """

    _is_asyncio = False
    _backing_class: Any = Backing
    #: Where SQLAlchemy's documentation has whoever wants to know turn logging on.
    _sqla_logger_namespace = "sqlalchemy.pool.impl.ManagedQueuePool"

    def __init__(
        self,
        creator: Any,
        target: str = "",
        settings: Any = None,
        address: str = "",
        pool_size: int | None = None,
        max_overflow: int | None = None,
        timeout: float | None = None,
        recycle: float | None = None,
        pre_ping: bool = False,
        use_lifo: bool = True,
        _backing: Any = None,
        **kw: Any,
    ) -> None:
        if _backing is None:
            theirs = {"pool_size": pool_size, "max_overflow": max_overflow, "timeout": timeout, "recycle": recycle}
            spec = bootstrap_of(settings, {**theirs, "pre_ping": pre_ping}, f"the pool of {target or 'the engine'!r}")
            _backing = self._backing_class(target, spec, address)
        self._backing = _backing
        super().__init__(creator, **kw)
        _backing.front = self

    @property
    def managed(self) -> CorePool:
        """The pool behind it in the present process. That of a target is one of a group, whose settings it follows."""
        core: CorePool = self._backing.open_pool()
        return core

    # -- checkout and return ------------------------------------------------------------------------------------------

    def _do_get(self) -> Any:
        core = self._backing.core
        if core is None or core.retired:
            core = self._backing.open_pool()
        if on_console_lane() is not None and (core.paused or not core.idle):
            return self._direct()
        try:
            return core.checkout().conn
        except PoolClosed:
            if not self._backing.disposed_of(core):
                raise
        # Whoever waited when the engine was disposed of goes on with what came after.
        return self._do_get()

    def _direct(self) -> Any:
        """For the console, which must not wait: a connection of its own."""
        return self._create_connection()

    def _do_return_conn(self, record: Any) -> None:
        slot = getattr(record, "slot", None)
        if slot is None:
            record.close()
            if (ear := record.__dict__.pop("ear", None)) is not None:
                self._hear(ear)
            return
        # SQLAlchemy sees to it that a second return is none, whichever thread gives back.
        slot.pool.put_back(slot, not record._is_hard_or_soft_invalidated())

    def _invalidate(self, connection: Any, exception: BaseException | None = None, _checkin: bool = True) -> None:
        """SQLAlchemy's: what breaks one connection breaks those that are as old."""
        before = self._invalidate_time
        super()._invalidate(connection, exception, _checkin)
        if self._invalidate_time != before and (core := self._backing.core) is not None:
            core.drop_idle()

    # -- connecting ---------------------------------------------------------------------------------------------------

    def _should_wrap_creator(self, creator: Any) -> Any:
        self._make = super()._should_wrap_creator(creator)
        return self._connect

    def _connect(self, record: Any) -> Any:
        """A connection for a record: its first, or in a borrower's hands another in the place of one that broke."""
        slot = getattr(record, "slot", None)
        if slot is None:
            return self._connect_safely(record)
        if slot.owner is None:
            raise sqlalchemy.exc.InvalidRequestError("the pool has taken this connection back")
        # The server must not have two of one place.
        if (ear := record.__dict__.pop("ear", None)) is not None:
            self._hear(ear)
        # Set already, where SQLAlchemy does so when this returns: the slot follows to what the record has.
        record.dbapi_connection = connection = self._connect_safely(record)
        slot.pool.driver.follow(record, slot)
        slot.pool.count(created=1, closed=1)
        return connection

    def _connect_safely(self, record: Any) -> Any:
        try:
            connection = self._make(record)
            seconds = connecting.timeout or self._backing.spec.connection_timeout
            record.behind_pooler = is_behind_pooler(self._dialect, connection, seconds)
            return connection
        except Exception as ex:
            disarm(ex)  # the frames below hold what it was to connect with
            raise

    def _hear(self, ear: Ear) -> None:
        """Wait for the server to have closed its end, for a moment."""
        ear.hears_the_end(monotonic() + LINGER)

    # -- what others call of SQLAlchemy's pool ------------------------------------------------------------------------

    def dispose(self) -> None:
        """Close what is idle now and what is used as it returns; the next use opens other connections."""
        self._backing.dispose()
        self.logger.info("Pool disposed. %s", self.status())

    def recreate(self) -> ManagedQueuePool:
        """The same pool of the same target, as another object; its listeners are those of this one."""
        self.logger.info("Pool recreating")
        return self.__class__(
            self._creator,
            echo=self.echo,
            logging_name=self._orig_logging_name,
            reset_on_return=self._reset_on_return,
            dialect=self._dialect,
            _dispatch=self.dispatch,
            _backing=self._backing,
        )

    def status(self) -> str:
        """For people."""
        return repr(self._backing.core or self._backing)

    def size(self) -> int:
        return int(self._backing.spec.max_size)

    def timeout(self) -> float:
        return float(self._backing.spec.connection_timeout)

    def checkedin(self) -> int:
        core = self._backing.core
        return 0 if core is None else len(core.idle)

    def checkedout(self) -> int:
        core = self._backing.core
        return 0 if core is None else len(core.out)

    def overflow(self) -> int:
        """By how many the connections there are exceed ``size()``, which they never do: below 0 while there is room."""
        core = self._backing.core
        return (0 if core is None else core.places) - self.size()


def _listen_for_the_end(connection: Any, record: Any) -> None:
    # Whatever becomes of it, the driver's connection must be closed.
    listen_for_the_end(record, record.driver_connection, record.in_use)


sqlalchemy.event.listen(ManagedQueuePool, "close", _listen_for_the_end)
