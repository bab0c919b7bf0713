"""gevent: greenlets on a pool of two: python -m tests.faults.programs.greenlets"""

from gevent import monkey

monkey.patch_all()

import time  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402

from tests.faults.programs.site import configure, held, query, quiet, report, sessions  # noqa: E402

configure()

from django.db import connection  # noqa: E402

import poolmgr  # noqa: E402


def compete(number: int) -> Any:
    try:
        if number % 2:
            with held():
                query("SELECT pg_sleep(0.01)")
                return query()
        query("SELECT pg_sleep(0.01)")
        return query()
    finally:
        connection.close()


def hold() -> None:
    with held():
        query()
        gevent.sleep(30)


def give_up() -> str:
    try:
        with gevent.Timeout(0.1):
            query("SELECT pg_sleep(30)")
    except gevent.Timeout:
        return "timeout"
    finally:
        connection.close()
    return ""


told: dict[str, Any] = {}
greenlets = [gevent.spawn(compete, number) for number in range(40)]
began = time.monotonic()
gevent.joinall(greenlets, timeout=20, raise_error=True)
told["pids"] = len({greenlet.value for greenlet in greenlets})
# Forty times ten milliseconds on two connections: others run while one waits for the server.
told["took"] = round(time.monotonic() - began, 2)
told["quiet"] = quiet()

# Two hold everything, five wait; all are killed.
holders = [gevent.spawn(hold) for _ in range(2)]
gevent.sleep(0.3)
waiters = [gevent.spawn(compete, number) for number in range(5)]
gevent.sleep(0.1)
told["full"] = [poolmgr.pool().snapshot().used, poolmgr.pool().snapshot().pending]
gevent.killall(waiters)
told["pending"] = poolmgr.pool().snapshot().pending
gevent.killall(holders)
told["quiet_after_kill"] = quiet()

# A waiter is killed at the very moment when it is served.
for _ in range(20):
    holders = [gevent.spawn(compete, 0) for _ in range(2)]
    gevent.sleep(0)
    waiter = gevent.spawn(compete, 1)
    gevent.sleep(0.011)
    waiter.kill()
    gevent.joinall(holders)
told["quiet_after_races"] = quiet()

told["gave_up"] = [greenlet.value for greenlet in gevent.joinall([gevent.spawn(give_up) for _ in range(4)], timeout=10)]

# Ends without closing.
gevent.joinall([gevent.spawn(query) for _ in range(2)])
told["quiet_after_the_end"] = quiet()
told["works"] = gevent.spawn(compete, 1).get(timeout=10) in sessions()
quiet()
gevent.sleep(0.1)
told["used"] = poolmgr.pool().snapshot().used
told["sessions"] = len(sessions())
report(**told)
