"""One look at a database through a connection of its own, as its dialect can; PostgreSQL's figures are asked for too."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, perf_counter
from typing import Any

from poolmgr.pools.core.driver import Refused
from poolmgr.pools.diagnosis import words_of
from poolmgr.pools.looking import Look
from poolmgr.pools.sql import figures
from poolmgr.secrets import disarm
from poolmgr.targets.sqlalchemy.asyncio.probe import look_by_asyncio
from poolmgr.targets.sqlalchemy.diagnosis import diagnose
from poolmgr.targets.sqlalchemy.handing import async_pool, is_only_asyncio_s, pool
from poolmgr.targets.sqlalchemy.products import version_of


def prepare(target: str) -> None:
    """Make the engine, which imports its dialect and its driver."""
    _engine(target)


def look(target: str, look: Look, query: Callable[[], str], deadline: float, silence: float) -> None:
    """As ``pools.looking.Prober`` has it."""
    failed = None
    try:
        look_by = look_by_asyncio if is_only_asyncio_s(target) else _look
        look_by(_engine(target), look, query, deadline, silence)
    except Exception as ex:  # each driver has errors of its own
        found = diagnose(disarm(ex))
        failed = found.cls(found.sentence, target)
    if failed is not None:
        raise failed


def _engine(target: str) -> Any:
    return (async_pool if is_only_asyncio_s(target) else pool)(target)


def _look(engine: Any, look: Look, query: Callable[[], str], deadline: float, silence: float) -> None:
    driver = engine.pool._backing.driver
    began = perf_counter()
    record = driver.connect(max(0.05, deadline - monotonic()))
    try:
        look.connect_time = perf_counter() - began
        look.connected = True
        asked = query()
        began = perf_counter()
        try:
            driver.ask(record, asked, deadline)
            look.query_error = ""
        except Refused as ex:
            error = disarm(ex.__cause__ or ex)
            look.refuse(diagnose(error).sentence, words_of(error))
        look.query_time = perf_counter() - began
        # The dialect has read it at the first connect.
        look.version = version_of(engine.dialect)
        look.behind_pooler = record.behind_pooler
        if engine.dialect.name == "postgresql":
            figures.fill(look, driver.ask(record, figures.asking(silence), deadline), driver.server_id(record))
    finally:
        driver.close(record, deadline)
