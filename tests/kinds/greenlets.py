"""Greenlets on a pool of two: python -m tests.kinds.greenlets gevent|eventlet KIND URL"""

# isort: skip_file
import sys

if sys.argv[1] == "gevent":
    import gevent
    from gevent import monkey

    monkey.patch_all()
    spawn, sleep, Timeout = gevent.spawn, gevent.sleep, gevent.Timeout

    def join(greenlets: "list[Any]") -> "list[Any]":
        gevent.joinall(greenlets, timeout=20)
        return [each.value for each in greenlets]
else:
    import eventlet

    eventlet.monkey_patch()
    spawn, sleep, Timeout = eventlet.spawn, eventlet.sleep, eventlet.Timeout

    def join(greenlets: "list[Any]") -> "list[Any]":
        return [each.wait() for each in greenlets]


import json
import time
from typing import Any

import django
from django.conf import settings

settings.configure(USE_TZ=True)
django.setup()

from tests.kinds.subjects import Alchemy, Postgres, Redis, Subject  # noqa: E402

KINDS: dict[str, type[Subject]] = {"postgresql": Postgres, "redis": Redis, "sqlalchemy": Alchemy}
subject = KINDS[sys.argv[2]](sys.argv[3])
subject.open(max_size=2, connection_timeout=8.0)


def compete(number: int) -> int:
    with subject.borrowed() as conn:
        subject.use(conn)
        if number % 2:
            sleep(0.002)
        return subject.use(conn)


def hold() -> None:
    with subject.borrowed() as conn:
        subject.use(conn)
        sleep(30)


kept: list[Any] = []


def end_without_a_word() -> None:
    kept.append(subject.borrow())


def give_up() -> str:
    try:
        with Timeout(0.1):
            subject.borrow()
    except Timeout:
        return "timeout"
    return ""


def quiet() -> float:
    """Seconds until nothing is in use."""
    began = time.monotonic()
    while subject.pool.snapshot().used and time.monotonic() < began + 10:
        sleep(0.02)
    return time.monotonic() - began


told: dict[str, Any] = {}
told["ends"] = len(set(join([spawn(compete, number) for number in range(40)])))
told["quiet"] = quiet()

# Two hold everything, and five wait; all are killed.
holders = [spawn(hold) for _ in range(2)]
sleep(0.3)
waiters = [spawn(compete, number) for number in range(5)]
sleep(0.1)
seen = subject.pool.snapshot()
told["full"] = [seen.used, seen.pending, all(each.thread for each in seen.holders)]
told["gave_up"] = join([spawn(give_up) for _ in range(2)])
for each in (*waiters, *holders):
    each.kill()
told["pending"] = subject.pool.snapshot().pending
told["quiet_after_kill"] = quiet()

# A waiter is killed at the very moment when it is served.
for _ in range(10):
    holders = [spawn(compete, 1) for _ in range(2)]
    sleep(0)
    waiter = spawn(compete, 1)
    sleep(0.003)
    waiter.kill()
    join(holders)
told["quiet_after_races"] = quiet()

# They end without giving back; kept, so that nothing but their end can tell.
join([spawn(end_without_a_word) for _ in range(2)])
told["quiet_after_the_end"] = quiet()
told["works"] = join([spawn(compete, 1)])[0] in subject.ends()
told["used"] = subject.pool.snapshot().used
told["left"] = len(subject.ends())
print(json.dumps(told), flush=True)
subject.close()
