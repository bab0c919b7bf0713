"""One look at a database whose dialect is asyncio's, in an event loop of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic, perf_counter
from typing import Any

from poolmgr.pools.core.driver import NoAnswer
from poolmgr.pools.looking import Look
from poolmgr.targets.sqlalchemy.asyncio.driver import ask, let_go
from poolmgr.targets.sqlalchemy.asyncio.greenlets import greenlet_spawn
from poolmgr.targets.sqlalchemy.products import version_of


def look_by_asyncio(engine: Any, look: Look, query: Callable[[], str], deadline: float) -> None:
    """In the thread that calls, where no loop runs. Raises the driver's errors, and ``NoAnswer``."""
    front = engine.sync_engine.pool
    with asyncio.Runner() as runner:

        def connect(timeout: float) -> Any:
            try:
                return runner.run(asyncio.wait_for(greenlet_spawn(front._create_connection), timeout))
            except TimeoutError as ex:
                raise NoAnswer(f"no answer within {timeout:g} s") from ex

        began = perf_counter()
        record = front._backing.first.in_turn(connect, max(0.05, deadline - monotonic()))
        try:
            look.connect_time = perf_counter() - began
            look.connected = True
            asked = query()
            began = perf_counter()
            runner.run(ask(front._dialect, record.dbapi_connection, asked, max(0.05, deadline - monotonic())))
            look.query_time = perf_counter() - began
            look.version = version_of(front._dialect)
            look.behind_pooler = record.behind_pooler
        finally:
            let_go(record)
