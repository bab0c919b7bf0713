"""What becomes of a connection that comes back with more than a clean slate."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

from poolmgr.pools.sql.pinning import EXTENDS, INDELIBLE
from poolmgr.secrets import scrub_unread
from poolmgr.targets.asyncpg.connection import Tracked
from poolmgr.targets.asyncpg.noting import CODEC, NAMED, Noting

logger = logging.getLogger("poolmgr.pool")

#: The longest that a cleaning may take where a borrower doesn't say, in seconds.
PATIENCE = 5.0
#: What no cleaning removes: such a connection is closed, and another opened as it is wanted.
BEYOND_CLEANING = INDELIBLE | {CODEC, NAMED}
#: What ``DISCARD ALL`` does, but for what asyncpg has prepared, which it may keep, and for plans, which are nobody's.
_WIPE = """
CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; UNLISTEN *; SELECT pg_catalog.pg_advisory_unlock_all();
DISCARD TEMP; DISCARD SEQUENCES"""
#: What can't be, or end, a prepared statement.
_SPARES_STATEMENTS = frozenset(
    {"SET", "LISTEN", "advisory lock", "sequence", "temporary table", "cursor WITH HOLD", EXTENDS}
)


def is_worth_it(conn: Tracked, target: str) -> bool:
    """Whether anything but another connection helps."""
    if lasting := conn.left & BEYOND_CLEANING:
        logger.info(
            "pool %r: a connection is closed, since its borrower has left what stays: %s", target, _listed(lasting)
        )
        return False
    if conn.left and conn.behind_pooler:
        # A wipe may come to anybody's server connection.
        logger.info(
            "pool %r: a pooler's connection is closed, since its borrower has left: %s", target, _listed(conn.left)
        )
        return False
    if conn.is_at_work and not conn._protocol._is_cancelling():
        logger.warning("pool %r: a connection came back in the middle of a statement and is closed", target)
        return False
    return True


def _listed(reasons: Iterable[str]) -> str:
    return ", ".join(sorted(reasons))


async def clean(conn: Noting, target: str, configure: Any, seconds: float) -> bool:
    """Wipe every trace of the last borrower, within so many seconds; whether that succeeded. Of no use else.

    ``configure`` makes it again what the site has made it, where a wipe undoes that.
    """
    try:
        async with asyncio.timeout(seconds):
            await _clean(conn, configure)
    except Exception as ex:
        told = scrub_unread(str(ex)) or type(ex).__name__
        logger.warning("pool %r: cleaning failed, the connection is replaced: %s", target, told)
        return False
    return True


async def _clean(conn: Noting, configure: Any) -> None:
    if conn._protocol._is_cancelling():
        await conn._protocol._wait_for_cancellation()
    conn._check_open()
    wishes = []
    if conn._protocol.is_in_transaction():
        _tell_of_transaction(conn)
        wishes.append("ROLLBACK")
    conn._top_xact = None
    left = conn.left
    if left:
        conn._listeners.clear()
        wishes.append(_WIPE)
        if not left <= _SPARES_STATEMENTS:
            wishes.append("DEALLOCATE ALL")
            conn.forget_statements()
    if wishes:
        await conn.execute(";\n".join(wishes))
    if left:
        await configure(conn)
    conn.begin()


def _tell_of_transaction(conn: Noting) -> None:
    # As asyncpg does, unless its own block is about to end it.
    if conn._top_xact is None or not conn._top_xact._managed:
        conn._loop.call_exception_handler({"message": f"Resetting connection with an active transaction {conn!r}"})
