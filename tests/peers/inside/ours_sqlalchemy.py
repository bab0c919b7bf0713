"""SQLAlchemy's QueuePool is ours, under its name."""

from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import peer_settings  # noqa: F401
import sqlalchemy
import sqlalchemy.pool.impl

from poolmgr.targets.sqlalchemy import driver, pool, stopping

#: Theirs is 30, for which a pool waits whose connects fail.
_TIMEOUT = 5.0


class Idle:
    """For ``_pool`` of theirs, of which their tests ask how much is in it."""

    def __init__(self, of: "QueuePool") -> None:
        self._of = of

    def qsize(self) -> int:
        return self._of.checkedin()

    def empty(self) -> bool:
        return not self.qsize()

    @property
    def queue(self) -> list[Any]:
        core = self._of._backing.core
        return [] if core is None else [slot.conn for slot in core.idle]

    @queue.setter
    def queue(self, records: Any) -> None:
        """Whoever takes closed ones out has nothing to take out here."""


class QueuePool(pool.ManagedQueuePool):
    """With QueuePool's defaults, but for the timeout, and with what their tests read of its insides."""

    _sqla_logger_namespace = "sqlalchemy.pool.impl.QueuePool"

    def __init__(
        self, creator: Any, pool_size: int = 5, max_overflow: int = 10, timeout: float = _TIMEOUT, **kw: Any
    ) -> None:
        if "_backing" in kw:
            super().__init__(creator, **kw)
        else:
            super().__init__(creator, pool_size=pool_size, max_overflow=max_overflow, timeout=timeout, **kw)
            self._backing.sizes = pool_size, max_overflow
        self._pool = Idle(self)

    @property
    def _max_overflow(self) -> int:
        return self._backing.sizes[1]

    @_max_overflow.setter
    def _max_overflow(self, number: int) -> None:
        self._backing.sizes = self._backing.sizes[0], number

    @property
    def _overflow(self) -> int:
        core = self._backing.core
        return (0 if core is None else core.places) - self._backing.sizes[0]


def _but_of_mocks(tell: Callable[[Any], int], nothing: int) -> Callable[[Any], int]:
    """They answer to anything, count what they are asked, and have no socket."""
    return lambda conn: nothing if isinstance(conn, Mock) else tell(conn)


for module in (sqlalchemy, sqlalchemy.pool, sqlalchemy.pool.impl):
    module.QueuePool = QueuePool
for module in (driver, stopping):
    module.fileno_of = _but_of_mocks(module.fileno_of, -1)
driver.server_id_of = _but_of_mocks(driver.server_id_of, 0)
