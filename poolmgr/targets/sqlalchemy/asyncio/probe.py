"""One look at a database whose dialect is asyncio's, in an event loop of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic, perf_counter
from typing import Any

from poolmgr.pools.core.driver import NoAnswer, Refused
from poolmgr.pools.diagnosis import words_of
from poolmgr.pools.looking import Look
from poolmgr.pools.sql import figures
from poolmgr.secrets import disarm
from poolmgr.targets.sqlalchemy.asyncio.driver import ask, let_go
from poolmgr.targets.sqlalchemy.asyncio.greenlets import greenlet_spawn
from poolmgr.targets.sqlalchemy.diagnosis import diagnose
from poolmgr.targets.sqlalchemy.products import version_of
from poolmgr.targets.sqlalchemy.sockets import server_id_of


def look_by_asyncio(engine: Any, look: Look, query: Callable[[], str], deadline: float, silence: float) -> None:
    """In the thread that calls, where no loop runs. Raises the driver's errors, and ``NoAnswer``."""
    front = engine.sync_engine.pool
    with asyncio.Runner() as runner:

        def connect(timeout: float) -> Any:
            try:
                return runner.run(asyncio.wait_for(greenlet_spawn(front._create_connection), timeout))
            except TimeoutError as ex:
                raise NoAnswer(f"no answer within {timeout:g} s") from ex

        def asked_for(query: str) -> Any:
            return runner.run(ask(front._dialect, record.dbapi_connection, query, max(0.05, deadline - monotonic())))

        began = perf_counter()
        record = front._backing.first.in_turn(connect, max(0.05, deadline - monotonic()))
        try:
            look.connect_time = perf_counter() - began
            look.connected = True
            asked = query()
            began = perf_counter()
            try:
                asked_for(asked)
                look.query_error = ""
            except Refused as ex:
                error = disarm(ex.__cause__ or ex)
                look.refuse(diagnose(error).sentence, words_of(error))
            look.query_time = perf_counter() - began
            look.version = version_of(front._dialect)
            look.behind_pooler = record.behind_pooler
            if front._dialect.name == "postgresql":
                figures.fill(look, asked_for(figures.asking(silence)), server_id_of(record.driver_connection))
        finally:
            let_go(record)
