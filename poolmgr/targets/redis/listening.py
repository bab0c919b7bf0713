"""How a process hears of Celery's results: over one connection of the pool, for as long as any result is waited for."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any
from weakref import WeakSet

from celery.backends.redis import ResultConsumer

from poolmgr.pools.core.ticker import ticker
from poolmgr.pools.forks import on_fork
from poolmgr.targets.redis.library import redis

#: Seconds for which the connection is kept when nothing is waited for any more: results are often wanted one after another.
LINGER = 5.0
#: Seconds between two looks for results where nobody listens.
_LOOK = 0.2

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


class Subscription(redis.client.PubSub):
    """redis-py's, which says when it is heard again: what was published before then, nobody was told."""

    is_anew = False
    is_to_look = False

    def on_connect(self, connection: Any) -> None:
        """redis-py's: the connection was lost, and its channels are subscribed to over another."""
        self.is_anew = True
        super().on_connect(connection)

    def execute_command(self, *args: Any) -> None:
        """redis-py's, but to be told no more of a channel is nothing to connect for.

        Raises ``redis.ConnectionError`` where there is no connection any more.
        """
        if args[0] != "UNSUBSCRIBE":
            super().execute_command(*args)  # type: ignore[no-untyped-call]
        elif self.connection is None or not self.connection.is_connected:
            raise redis.ConnectionError("nobody listens")
        else:
            with self._lock:
                self.connection.send_command(*args, check_health=False)

    def handle_message(self, response: Any, ignore_subscribe_messages: bool = False) -> Any:
        """redis-py's, which is given everything that the server says."""
        if self.is_anew and redis.utils.str_if_bytes(response[0]) == "subscribe":
            self.is_anew, self.is_to_look = False, True
        return super().handle_message(response, ignore_subscribe_messages)  # type: ignore[no-untyped-call]


class Client(redis.StrictRedis):
    """redis-py's client, whose subscriptions belong to the process."""

    def pubsub(self, **kwargs: Any) -> Subscription:
        return Subscription(_Lasting(self.connection_pool), event_dispatcher=self._event_dispatcher, **kwargs)


class Listener(ResultConsumer):  # type: ignore[misc]
    """Celery's, which gives its connection back when nothing is waited for, and begins anew in a forked child."""

    # What Celery's has.
    _pubsub: Any
    subscribed_to: set[Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._is_to_rest = False
        self._letting_go = threading.local()
        _all.add(self)

    def _flush_pending_unsubscribe(self) -> None:
        # Celery's last step of everything that it does with the subscription, without its lock.
        self._letting_go.is_under_way = True
        try:
            super()._flush_pending_unsubscribe()
        finally:
            self._letting_go.is_under_way = False
        if self._pubsub is not None and not self.subscribed_to and not self._is_to_rest:
            self._is_to_rest = True
            ticker().at(monotonic() + LINGER, self._rest)

    @contextmanager
    def reconnect_on_error(self) -> Iterator[None]:
        """Celery's, but who lets go of a result connects for nobody: finalisers do so, in any thread."""
        if not getattr(self._letting_go, "is_under_way", False):
            with super().reconnect_on_error():
                yield
            return
        try:
            yield
        except self._connection_errors:
            # Whoever still waits for a result begins anew.
            self._stop_listening()

    def drain_events(self, timeout: float | None = None) -> None:
        """Celery's, which whoever waits calls once a second.

        What a recycle, or its age, has ended is replaced first. Where the pool may hold a single connection nobody listens,
        since nothing would be left to ask with: results are looked for instead.
        """
        with self._locked():
            alone = self.make_room()
            if not alone and (self._is_old() or (self._pubsub is None and self.subscribed_to)):
                # Which also looks for what came meanwhile.
                self._reconnect()
        if self._pubsub is None:
            self._look()
            timeout = _LOOK if timeout is None else min(timeout, _LOOK)
        if (subscription := self._pubsub) is not None and subscription.is_to_look:
            subscription.is_to_look = False
            self._look()
        super().drain_events(timeout=timeout)

    def _reconnect_pubsub(self) -> None:
        # Celery's looks before it subscribes.
        super()._reconnect_pubsub()
        self._pubsub.is_anew = True

    def consume_from(self, task_id: str) -> None:
        """Celery's."""
        if self.make_room():
            self.subscribed_to.add(self._get_key_for_task(task_id))
        else:
            super().consume_from(task_id)

    def start(self, initial_task_id: str, **kwargs: Any) -> None:
        """Celery's, who takes it for the first task that is waited for."""
        if self.subscribed_to:
            self.subscribed_to.add(self._get_key_for_task(initial_task_id))
            self._reconnect()
        else:
            super().start(initial_task_id, **kwargs)

    def make_room(self) -> bool:
        """Whether nobody may listen; who does gives the single connection back, for a question."""
        if self.backend.client.connection_pool.managed.most > 1:
            return False
        if self._pubsub is not None:
            with self._locked():
                self._stop_listening()
        return True

    def _stop_listening(self) -> None:
        subscription, self._pubsub = self._pubsub, None
        if subscription is not None:
            subscription.close()

    def _look(self) -> None:
        if wanted := list(self.subscribed_to):
            for found in self._ensure(self.backend.client.mget, (wanted,)):
                if found:
                    self.on_state_change(self._decode_result(found), None)

    def _is_old(self) -> bool:
        slot = getattr(getattr(self._pubsub, "connection", None), "slot", None)
        return slot is not None and (slot.pool.retired or slot.pool.is_old(slot, monotonic()))

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
        self.subscribed_to.clear()
        self._stop_listening()

    def begin_anew(self) -> None:
        """In a forked child: the subscription is the parent's, and so is who waits for what it brings."""
        self._is_to_rest = False
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
