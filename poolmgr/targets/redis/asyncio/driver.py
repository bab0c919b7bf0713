"""redis.asyncio, as the core sees it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from time import monotonic
from typing import Any

from redis.asyncio import client, cluster

from poolmgr.exceptions import CheckoutError
from poolmgr.pools.aio.bridge import Bridge, LoopBusy
from poolmgr.pools.checkouts import LeftAlone
from poolmgr.pools.core.driver import NoAnswer
from poolmgr.pools.core.slot import Slot
from poolmgr.pools.diagnosis import Diagnosis
from poolmgr.targets.redis.diagnosis import diagnose, is_of_the_server
from poolmgr.targets.redis.errors import ERRORS
from poolmgr.targets.redis.kind import REDIS
from poolmgr.targets.redis.library import redis

#: Those that keep a connection until they are closed, whichever task uses them.
_CLIENTS = (client.Redis, client.PubSub, client.Monitor, client.Pipeline, cluster.TransactionStrategy)


class AsyncRedisDriver:
    """``front`` makes the connections, at every connect by its parameters of that moment, so that credentials may rotate."""

    errors: Mapping[type[CheckoutError], type[CheckoutError]] = ERRORS

    def __init__(self, front: Any, bridge: Bridge) -> None:
        self.front = front
        self._bridge = bridge

    def connect(self, timeout: float) -> Any:
        conn = self.front.make_connection()

        async def connect() -> Any:
            await conn.connect_within(timeout)
            return conn

        try:
            self._bridge.connect(connect, timeout, self.let_go)
        except BaseException as ex:
            self.close(conn, monotonic())
            if isinstance(ex, TimeoutError):
                raise redis.TimeoutError(f"no answer within {timeout:g} s") from ex
            raise
        return conn

    def bind(self, conn: Any, slot: Slot) -> None:
        conn.slot = slot
        slot.has_news = conn.news()

    def close(self, conn: Any, deadline: float) -> bool:
        if not conn.parted:
            self._part(conn, deadline)
        ear = conn.take_ear()
        return ear is None or bool(ear.hears_the_end(deadline))

    def _part(self, conn: Any, deadline: float) -> None:
        """In the loop, whose the socket is; where that doesn't run, or has not come to it in time, when it does again."""

        async def let_go() -> None:
            conn.let_go()

        if self._bridge.is_open:
            try:
                self._bridge.run(let_go, max(0.1, deadline - monotonic()))
                return
            except (LoopBusy, TimeoutError):
                pass
        conn.part_from_outside()
        if not self._bridge.tell(conn.let_go):
            conn.let_go()

    def let_go(self, conn: Any) -> None:
        conn.let_go()

    def sever(self, conn: Any) -> None:
        if not (self._bridge.is_open and self._bridge.tell(conn.break_off)):
            conn.break_off()

    def stop(self, conn: Any) -> None:
        raise LeftAlone(REDIS.denies["cancel"])

    def fileno(self, conn: Any) -> int:
        return int(conn.fileno())

    def server_id(self, conn: Any) -> int:
        return int(conn.server_id)

    def gone(self, conn: Any) -> bool:
        return bool(conn.gone())

    def ask(self, conn: Any, query: str, deadline: float) -> None:
        left = max(0.0, deadline - monotonic())
        try:
            self._bridge.run(partial(conn.ask, query, left), left)
        except TimeoutError as ex:
            raise NoAnswer(f"no answer to {query} before the deadline") from ex

    async def aask(self, conn: Any, query: str, seconds: float) -> None:
        await conn.ask(query, seconds)

    def standing(self, conn: Any) -> str:
        return str(conn.traffic.standing())

    def said(self, conn: Any) -> int:
        return int(conn.traffic.said)

    def is_kept_by(self, user: Any) -> bool:
        return isinstance(user, _CLIENTS)

    def doing(self, conn: Any) -> str:
        return ""

    def is_of_the_server(self, error: BaseException) -> bool:
        return is_of_the_server(error)

    def diagnose(self, error: BaseException) -> Diagnosis:
        return diagnose(error)
