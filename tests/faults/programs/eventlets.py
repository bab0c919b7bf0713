"""eventlet: greenlets on a pool of two: python -m tests.faults.programs.eventlets"""

import eventlet

eventlet.monkey_patch()

from typing import Any  # noqa: E402

from tests.faults.programs.site import configure, held, query, quiet, report, sessions  # noqa: E402

configure()

from django.db import connection  # noqa: E402

import poolmgr  # noqa: E402


def compete(number: int) -> Any:
    try:
        if number % 2:
            with held():
                query()
                eventlet.sleep(0.002)
                return query()
        return query()
    finally:
        connection.close()


def hold() -> None:
    with held():
        query()
        eventlet.sleep(30)


told: dict[str, Any] = {}
told["pids"] = len({greenlet.wait() for greenlet in [eventlet.spawn(compete, number) for number in range(40)]})
told["quiet"] = quiet()

# Two hold everything, and are killed in the middle of it.
holders = [eventlet.spawn(hold) for _ in range(2)]
eventlet.sleep(0.3)
told["full"] = poolmgr.pool().snapshot().used
told["named"] = all(holder.thread for holder in poolmgr.pool().snapshot().holders)
for holder in holders:
    holder.kill()
told["quiet_after_kill"] = quiet()

# They end without closing; kept, so that nothing but their end can tell.
kept: list[Any] = []


def end_without_a_word() -> None:
    entering = held()
    entering.__enter__()
    query()
    kept.append((entering, connection.connection))


for each in [eventlet.spawn(end_without_a_word) for _ in range(2)]:
    each.wait()
told["left"] = poolmgr.pool().snapshot().used
told["quiet_after_the_end"] = quiet()
told["reclaimed"] = poolmgr.pool().snapshot().reclaimed
told["works"] = eventlet.spawn(compete, 1).wait() in sessions()
quiet()
told["used"] = poolmgr.pool().snapshot().used
report(**told)
