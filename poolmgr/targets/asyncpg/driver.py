"""asyncpg, as the core sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any

from poolmgr.exceptions import CheckoutError
from poolmgr.pools.aio.bridge import Bridge
from poolmgr.pools.aio.forgotten import is_suspended, users_of
from poolmgr.pools.aio.making import Making
from poolmgr.pools.core.driver import NoAnswer, Refused
from poolmgr.pools.core.slot import Slot
from poolmgr.pools.diagnosis import Diagnosis
from poolmgr.pools.sockets import Ear
from poolmgr.pools.sql.processes import process_of
from poolmgr.pools.stopping import Stop
from poolmgr.targets.asyncpg.connection import Tracked
from poolmgr.targets.asyncpg.diagnosis import diagnose, is_of_the_server
from poolmgr.targets.asyncpg.errors import ERRORS
from poolmgr.targets.asyncpg.library import asyncpg
from poolmgr.targets.asyncpg.proxy import Lent

#: Locks of the session outlive its transactions, and nobody has the connection who could have taken one; a pooler's session,
#: where another process answers than the one that we were told of, somebody may.
_UNDO = "ROLLBACK; SELECT pg_catalog.pg_advisory_unlock_all() WHERE pg_catalog.pg_backend_pid() = "


class AsyncpgDriver:
    """``make`` gives a connection that is ready to use, in the loop, called with the seconds that it may take."""

    errors: Mapping[type[CheckoutError], type[CheckoutError]] = ERRORS

    def __init__(self, make: Callable[[float], Coroutine[Any, Any, Tracked]], bridge: Bridge) -> None:
        self._make = make
        self._bridge = bridge

    def connect(self, timeout: float) -> Tracked:
        making = Making(partial(self._make, timeout), Tracked.let_go_unheard)
        try:
            return self._bridge.connect(making.make, timeout, Tracked.let_go_unheard)  # type: ignore[no-any-return]
        except BaseException as ex:
            making.give_up()
            if isinstance(ex, TimeoutError):
                raise NoAnswer(f"no answer within {timeout:g} s") from ex
            raise

    def bind(self, conn: Tracked, slot: Slot) -> None:
        conn.slot = slot
        slot.behind_pooler = conn.behind_pooler
        slot.has_news = conn.news(slot.has_news)

    def close(self, conn: Tracked, deadline: float) -> bool:
        # In the middle of a statement asyncpg's own would have to wait. A loop that is late leaves time to hear the end.
        if self._bridge.is_open and not (conn.parted or conn.is_closed() or conn.is_at_work):
            seconds = max(0.05, (deadline - monotonic()) / 2)
            with suppress(Exception):
                self._bridge.run(partial(conn.close, timeout=seconds), seconds)
        conn.part_from_outside()
        if not self._bridge.tell(conn.let_go):
            conn.let_go()
        if (stopped := conn.stopped) is not None:
            stopped.wait(max(0.0, deadline - monotonic()))
        ear: Ear | None = conn.take_ear()
        return ear is None or ear.hears_the_end(deadline)

    def let_go(self, conn: Tracked) -> None:
        conn.let_go()

    def sever(self, conn: Tracked) -> None:
        conn.sever()

    def stop(self, conn: Tracked) -> Stop | None:
        return conn.stop()

    def fileno(self, conn: Tracked) -> int:
        return conn.fileno()

    def server_id(self, conn: Tracked) -> int:
        return 0 if conn.behind_pooler else process_of(int(conn.get_server_pid()))

    def gone(self, conn: Tracked) -> bool:
        return conn.gone()

    def ask(self, conn: Tracked, query: str, deadline: float) -> None:
        left = max(0.0, deadline - monotonic())
        try:
            self._bridge.run(partial(self.aask, conn, query, left), left)
        except TimeoutError as ex:
            raise NoAnswer(f"no answer to {query} before the deadline") from ex

    async def aask(self, conn: Tracked, query: str, seconds: float) -> None:
        await ask(conn, query, seconds)

    def standing(self, conn: Tracked) -> str:
        return "LISTEN" if conn._listeners else ""

    def doing(self, conn: Tracked) -> str:
        return conn.doing

    def said(self, conn: Tracked) -> int:
        protocol = conn._protocol
        return conn.said + (0 if protocol is None else int(protocol.queries_count))

    def is_kept_by(self, user: Any) -> bool:
        """What a borrower has, if code that waits, or an object of the site's or of a library's, has that."""
        return isinstance(user, Lent) and any(is_suspended(each) or _is_an_object(each) for each in users_of(user))

    def is_of_the_server(self, error: BaseException) -> bool:
        return is_of_the_server(error)

    def diagnose(self, error: BaseException) -> Diagnosis:
        return diagnose(error)


def _is_an_object(user: Any) -> bool:
    return type(user).__module__ != "builtins"


async def ask(conn: Tracked, query: str, seconds: float) -> None:
    """As ``Driver.ask()`` has it, in the loop."""
    try:
        async with asyncio.timeout(seconds):
            await _validate(conn, query)
    except TimeoutError as ex:
        raise NoAnswer(f"no answer to {query} within {seconds:g} s") from ex
    except asyncpg.PostgresError as ex:
        if conn.is_closed():
            raise
        raise Refused from ex
    finally:
        conn.left = frozenset()


async def _validate(conn: Tracked, query: str) -> None:
    if query == "SELECT 1":
        await conn.execute(query)
        return
    undo = f"{_UNDO}{conn.get_server_pid()}"
    try:
        # On lines of its own: a comment at its end must not swallow what follows.
        await conn.execute(f"BEGIN READ ONLY;\n{query}\n;{undo}")
    except asyncpg.PostgresError:
        if not conn.is_closed() and conn.is_in_transaction():
            await conn.execute(undo)
        raise
