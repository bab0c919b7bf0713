"""Cancels and ends by the hundred, at connections that change hands all the time: nobody is hit whom nobody meant."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress
from random import Random
from typing import Any

import psycopg
import pytest

from poolmgr.exceptions import CheckoutError
from poolmgr.pools.checkouts import LeftAlone
from tests import pools
from tests.kinds.async_subjects import Asyncpg, AsyncPostgres
from tests.kinds.subjects import Postgres
from tests.threads import under_load

pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore::ResourceWarning")]

#: What each borrower does, so many times.
CHECKOUTS, BORROWERS = 30, 6


class Storm:
    """Orders for whoever holds a connection just now; whom it has meant."""

    def __init__(self, pool: Any) -> None:
        self.meant: set[str] = set()
        self.hit = self.missed = 0
        self._pool = pool
        self._random = Random(7)

    def blow(self) -> None:
        time.sleep(0.02)  # an order each time, or all that is done is to connect anew
        for holder in self._pool.snapshot().holders[:1]:
            found = self._pool.find_checkout(holder.checkout)
            if found is None:
                continue
            self.meant.add(holder.checkout)
            try:
                (found.end if self._random.random() < 0.05 else found.cancel)()
                self.hit += 1
            except LeftAlone:
                self.missed += 1


def test_borrowers_that_nobody_meant_get_no_error(postgres: Any) -> None:  # P6
    subject = Postgres(pools.emptied(postgres.create_database("kinds")))
    subject.open(max_size=3, connection_timeout=30.0)
    storm, innocent = Storm(subject.pool), []

    def borrow(seed: int) -> None:
        random = Random(seed)
        for _ in range(CHECKOUTS):
            conn = subject.borrow()
            checkout = conn.entry.checkout
            try:
                for _ in range(random.randrange(1, 4)):
                    conn.execute(f"SELECT pg_sleep({random.random() / 100})")
            except psycopg.Error as error:
                if checkout not in storm.meant:
                    innocent.append(error)
            finally:
                with suppress(psycopg.Error):
                    subject.give_back(conn)

    threads = [threading.Thread(target=borrow, args=[seed]) for seed in range(BORROWERS)]
    with under_load(storm.blow) as errors:
        for each in threads:
            each.start()
        for each in threads:
            each.join(120)
    try:
        assert not any(each.is_alive() for each in threads)
        assert errors == []
        assert innocent == []
        assert storm.hit > 5
        seen = subject.pool.snapshot()
        assert seen.used == 0
    finally:
        subject.close()


@pytest.mark.parametrize("cls", [Asyncpg, AsyncPostgres])
def test_tasks_that_nobody_meant_get_no_error(postgres: Any, cls: type[Any]) -> None:  # P6
    subject = cls(pools.emptied(postgres.create_database("kinds")))
    subject.open(max_size=3, connection_timeout=30.0)
    storm, innocent = Storm(subject.pool), []

    async def borrow(seed: int) -> None:
        random = Random(seed)
        for _ in range(CHECKOUTS):
            conn = await (subject.front.acquire() if cls is Asyncpg else subject.front.checkout())
            checkout = conn.slot.checkout if cls is Asyncpg else conn._entry.checkout
            try:
                for _ in range(random.randrange(1, 4)):
                    await conn.execute(f"SELECT pg_sleep({random.random() / 100})")
            except (*subject.breaks, psycopg.Error) as error:
                if checkout not in storm.meant:
                    innocent.append(error)
            finally:
                with suppress(*subject.breaks, CheckoutError):
                    await (subject.front.release(conn) if cls is Asyncpg else subject.front.putconn(conn))

    async def all_of_them() -> None:
        await asyncio.gather(*(borrow(seed) for seed in range(BORROWERS)))

    try:
        with under_load(storm.blow) as errors:
            subject.loop.do(all_of_them)
        assert errors == []
        assert innocent == []
        assert storm.hit > 5
        assert subject.pool.snapshot().used == 0
    finally:
        subject.close()
