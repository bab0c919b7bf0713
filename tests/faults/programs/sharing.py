"""One process of a fleet that shares a budget. Lines on its stdin say how many threads work and how long each holds.

"close" closes its pool.

It ends when its stdin does, with a line of how many queries it has served and how the others failed.
"""

import asyncio
import json
import os
import sys
import threading
import time

import django

django.setup()

from django.db import connections  # noqa: E402

import poolmgr  # noqa: E402
import poolmgr.aio  # noqa: E402

told = {"threads": 0, "hold": 0.05, "pause": 0.0}
stopped = threading.Event()
news = threading.Condition()
served = [0] * 64
busy = [False] * 64
failed: list[str] = []


def use_database() -> None:
    try:
        with connections["work"].cursor() as cursor:
            cursor.execute("SELECT 1")
            time.sleep(told["hold"])
            cursor.execute("SELECT 1")
    finally:
        connections["work"].close()


def use_cache() -> None:
    from django.core.cache import cache

    # Which holds the connection for as long.
    with cache._cache.get_client().pipeline() as pipeline:
        pipeline.watch("key")
        time.sleep(told["hold"])
        pipeline.get("key")


def use_engine() -> None:
    with poolmgr.pool("work").connect() as connection:
        connection.exec_driver_sql("SELECT 1")
        time.sleep(told["hold"])
        connection.exec_driver_sql("SELECT 1")


def use_vectors() -> None:
    asyncio.run_coroutine_threadsafe(query_vectors(), loop).result()


async def query_vectors() -> None:
    async with poolmgr.aio.pool("work").acquire() as conn:
        await conn.fetchval("SELECT 1")
        await asyncio.sleep(told["hold"])
        await conn.fetchval("SELECT 1")


def use_tasks() -> None:
    asyncio.run_coroutine_threadsafe(query_by_tasks(), loop).result()


async def query_by_tasks() -> None:
    from django_async_backend.db import async_connections  # which is not on every Python

    try:
        async with await async_connections["work"].cursor() as cursor:
            await cursor.execute("SELECT 1")
            await asyncio.sleep(told["hold"])
            await cursor.execute("SELECT 1")
    finally:
        await async_connections["work"].close()


loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()
WAYS = {
    "TASKS_URL": use_tasks,
    "WORK_URL": use_database,
    "CACHE_URL": use_cache,
    "ENGINE_URL": use_engine,
    "VECTORS_URL": use_vectors,
}
use = next(way for name, way in WAYS.items() if os.environ.get(name))


def work(number: int) -> None:
    while not stopped.is_set():
        with news:
            news.wait_for(lambda: number < told["threads"] or stopped.is_set())
            busy[number] = True
        try:
            use()
            served[number] += 1
        except Exception as error:
            failed.append(f"{type(error).__name__}: {error}")
        busy[number] = False
        time.sleep(told["pause"])


def main() -> None:
    threads = [threading.Thread(target=work, args=[number], daemon=True) for number in range(len(served))]
    for thread in threads:
        thread.start()
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        with news:
            told.update(json.loads(line))
            news.notify_all()
        if told.pop("close", False):
            connections["work"].close_pool()
        print(json.dumps({"served": sum(served), "busy": sum(busy), "failed": failed}), flush=True)
    stopped.set()
    with news:
        news.notify_all()
    for thread in threads:
        thread.join(10)
    print(json.dumps({"served": sum(served), "failed": failed}), flush=True)


main()
