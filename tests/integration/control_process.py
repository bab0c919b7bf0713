"""One process of a test's fleet: queries in several threads, and tells on stdout, as JSON lines, what its pool becomes.

It ends when its stdin closes, with a last line of how many queries worked and which failed.
"""

import json
import os
import sys
import threading
import time
from collections import Counter

import django

django.setup()

from django.db import connections  # noqa: E402

import poolmgr  # noqa: E402

stopped = threading.Event()
worked: Counter[str] = Counter()
failed: list[str] = []


def query_on() -> None:
    pause = float(os.environ.get("TEST_PAUSE", "0.01"))
    while not stopped.is_set():
        try:
            with connections["default"].cursor() as cursor:
                if first := os.environ.get("TEST_FIRST"):
                    cursor.execute(first)
                cursor.execute("SELECT pg_sleep(%s)", [float(os.environ.get("TEST_SLEEP", "0.002"))])
            worked["queries"] += 1
        except Exception as error:
            failed.append(f"{type(error).__name__}: {error}")
        finally:
            connections["default"].close()
        time.sleep(pause)


def tell(**line: object) -> None:
    print(json.dumps({"at": time.time(), **line}), flush=True)


def watch() -> None:
    last: dict[str, object] = {}
    while not stopped.is_set():
        pool = poolmgr.pool()
        seen = pool.snapshot()
        now: dict[str, object] = {
            "max_size": seen.max_size,
            "limit": seen.limit,
            "status": seen.status,
            "generation": seen.generation,
            "profile": seen.profile,
            "revision": seen.revision,
        }
        if now != last:
            tell(**now)
            last = now
        time.sleep(0.005)


def main() -> None:
    poolmgr.pool()
    threads = [threading.Thread(target=query_on, daemon=True) for _ in range(int(os.environ.get("TEST_THREADS", "3")))]
    threads.append(threading.Thread(target=watch, daemon=True))
    for thread in threads:
        thread.start()
    sys.stdin.read()
    stopped.set()
    for thread in threads:
        thread.join(10)
    tell(worked=worked["queries"], failed=failed)


if __name__ == "__main__":
    main()
