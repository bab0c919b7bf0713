"""How a process hears of Celery's results: over one connection of the pool, for as long as any result is waited for."""

from __future__ import annotations

import atexit
from time import monotonic
from typing import Any
from weakref import WeakSet

from celery.backends.redis import ResultConsumer

from poolmgr.pools.core.ticker import ticker
from poolmgr.pools.forks import on_fork
from poolmgr.targets.redis.library import redis

#: Seconds for which the connection is kept when nothing is waited for any more: results are often wanted one after another.
LINGER = 5.0
#: Celery's consumer may be used by several threads at once from 5.7 on.
IS_SHARED = hasattr(ResultConsumer, "_locked")

_all: WeakSet[Listener] = WeakSet()


class _Everybody:
    """The owner of a subscription that any thread of the process may use and end."""

    name = "Celery, which waits for results"


class _Lasting:
    """A pool as a subscription sees it: what it borrows is no thread's, and stays when the thread ends."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def get_connection(self, *args: Any, **kwargs: Any) -> Any:
        connection = self._pool.get_connection(*args, **kwargs)
        if (slot := connection.slot) is not None:
            slot.pool.lend_on(slot, _Everybody())
        return connection


class Client(redis.StrictRedis):
    """redis-py's client, whose subscriptions belong to the process."""

    def pubsub(self, **kwargs: Any) -> Any:
        made = super().pubsub(**kwargs)  # type: ignore[no-untyped-call]
        made.connection_pool = _Lasting(made.connection_pool)
        return made


class Listener(ResultConsumer):  # type: ignore[misc]
    """Celery's, which gives its connection back when nothing is waited for, and begins anew in a forked child."""

    # What Celery's has.
    _pubsub: Any
    subscribed_to: set[Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._is_to_rest = False
        _all.add(self)

    def _flush_pending_unsubscribe(self) -> None:
        # Celery's last step of everything that it does with the subscription, without its lock.
        super()._flush_pending_unsubscribe()
        if self._pubsub is not None and not self.subscribed_to and not self._is_to_rest:
            self._is_to_rest = True
            ticker().at(monotonic() + LINGER, self._rest)

    def _rest(self) -> None:
        self._is_to_rest = False
        # The ticker must not wait; whoever has the lock comes by the step above when they let go of it.
        if not self._pubsub_lock.acquire(blocking=False):
            return
        try:
            if self.subscribed_to:
                return
            subscription, self._pubsub = self._pubsub, None
        finally:
            self._pubsub_lock.release()
        if subscription is not None:
            subscription.close()

    def end(self) -> None:
        """Wait for nothing any more, and ask nothing of a server: results are let go of one by one while Python ends."""
        subscription, self._pubsub = self._pubsub, None
        self.subscribed_to.clear()
        if subscription is not None:
            subscription.close()

    def begin_anew(self) -> None:
        """In a forked child: the subscription is the parent's, and so is who waits for what it brings."""
        self._is_to_rest = False
        if IS_SHARED:
            self._reset_sync()
        self._pubsub = None
        self.subscribed_to.clear()
        for waiting in self._pending_results:
            waiting.clear()
        self.buckets.clear()


def _after_fork() -> None:
    for each in list(_all):
        each.begin_anew()


def _at_exit() -> None:
    for each in list(_all):
        each.end()


on_fork(_after_fork)
# The last to register is the first to be called: before the registry closes the pools.
atexit.register(_at_exit)
