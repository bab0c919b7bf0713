"""Celery's pool of connections to a broker, as the tests that all kinds pass see it."""

from typing import Any

import kombu
import redis
from celery import Celery

from poolmgr.targets.kombu.kind import KOMBU
from poolmgr.targets.kombu.pool import BrokerPool
from tests.brokers import close_broker_pools
from tests.kinds.subjects import Redis


class Broker(Redis):
    """The broker is a Redis, whose ends are seen there."""

    kind = KOMBU
    errors = {"PoolExhausted": kombu.exceptions.ConnectionLimitExceeded}
    knows_ends = connects_ahead = False
    breaks = (redis.ConnectionError, kombu.exceptions.OperationalError)
    app: Celery

    def _open(self, url: str, settings: dict[str, Any]) -> None:
        self.app = Celery("broker", broker=url, set_as_current=False)
        self.pool = BrokerPool("broker", self.app, KOMBU.make_spec(settings))
        self.pool.open()
        self.opened.append(self.pool)

    def close(self) -> None:
        super().close()
        close_broker_pools()
        self.app.close()

    def borrow(self) -> Any:
        conn = self.app.pool.acquire(block=True)
        try:
            conn.default_channel  # noqa: B018 - which connects
        except BaseException:
            conn.release()
            raise
        return conn

    def give_back(self, conn: Any) -> None:
        conn.release()

    def use(self, conn: Any) -> int:
        return int(conn.default_channel.client.client_id())
