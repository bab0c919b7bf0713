"""redis.asyncio's connections, of whatever class, with what the pool must know of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from threading import Lock
from time import monotonic
from typing import Any

from poolmgr.pools.core.driver import NoAnswer
from poolmgr.pools.core.slot import Slot
from poolmgr.pools.sockets import Ear, first_byte, hang_up, has_hung_up, watch
from poolmgr.targets.redis.library import redis
from poolmgr.targets.redis.traffic import Traffic

#: Seconds for which a borrower that connects again waits for the server to close what they had.
_LINGER = 0.5
#: The first byte of what a server of RESP3 sends unasked.
_PUSH = b">"


def _broken(timeout: int) -> bool:
    return True


def _nothing(*args: Any) -> None:
    """The bytes of a command are made by the connection itself."""


class AsyncTracked:
    """What ``tracked()`` puts before a connection class. ``slot`` is the pool's, ``server_id`` what the server calls it.

    It is used in its event loop alone, save for what says otherwise. A borrower's commands may connect it again after an
    error, in place: then the slot learns of the new socket.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.slot: Slot | None = None
        self.server_id = 0
        self.parted = False
        self._ear: Ear | None = None
        self._ear_lock = Lock()
        super().__init__(*args, **kwargs)
        self.traffic = Traffic(_nothing, self.db)
        self.register_connect_callback(self._connected)

    # What redis-py's classes have.
    _reader: Any
    _writer: Any
    _parser: Any
    db: Any
    register_connect_callback: Any
    connect_check_health: Any
    send_command: Any
    socket_connect_timeout: Any
    _should_reconnect: Any

    def is_as_connected(self) -> bool:
        """Whether whoever has it next finds what the site asked for at the connect, and no reply of another's."""
        return not self.traffic.owed and not self.traffic.left

    def pack_command(self, *args: Any) -> Any:
        """redis-py's, through which every command goes, a pipeline's too."""
        self.traffic.pack(*args)
        return super().pack_command(*args)  # type: ignore[misc]

    async def read_response(self, *args: Any, **kwargs: Any) -> Any:
        """redis-py's; its errors lead to no frames that lead back, and so to the connection until somebody collects them."""
        self.traffic.owed -= 1
        try:
            return await super().read_response(*args, **kwargs)  # type: ignore[misc]
        except redis.ResponseError as ex:
            raise ex.with_traceback(None)  # noqa: B904 - it is the same

    async def re_auth(self) -> None:
        """redis-py's: the site's own credentials are new."""
        await super().re_auth()  # type: ignore[misc]
        self.traffic.left.discard("AUTH")

    # -- connecting ---------------------------------------------------------------------------------------------------

    async def connect_within(self, seconds: float) -> None:
        """Connect and log in, without redis-py's own tries again; cancelled after ``seconds`` by whoever waits for it."""
        configured = self.socket_connect_timeout
        self.socket_connect_timeout = min(configured or seconds, seconds)
        try:
            await self._connect_once()
        finally:
            self.socket_connect_timeout = configured

    async def _connect_once(self) -> None:
        if (find_and_connect := getattr(self, "_connect_retry", None)) is not None:
            await find_and_connect()  # by Sentinel, which is asked for the address first
        else:
            await self.connect_check_health(check_health=True, retry_socket_connect=False)

    async def _connect(self) -> None:
        if self.parted:
            raise redis.ConnectionError("the pool has taken this connection back")
        # The server must not have two of one place.
        if (ear := self.take_ear()) is not None:
            await _heard(ear, _LINGER)
        await super()._connect()  # type: ignore[misc]

    async def _connected(self, connection: Any) -> None:
        self.server_id = await self._ask_for_id()
        self.traffic.begin()
        if (slot := self.slot) is not None:
            slot.pid = self.server_id
            slot.has_news = self.news()
            slot.pool.count(created=1, closed=1)
            self.traffic.begin_anew()

    async def _ask_for_id(self) -> int:
        await self.send_command("CLIENT", "ID", check_health=False)
        try:
            answer = await self.read_response()
        except redis.ResponseError:  # an old server, or a user who may not ask
            return 0
        # What stands between may have answered, as a proxy that says OK to each CLIENT.
        return answer if isinstance(answer, int) else 0

    # -- looking ------------------------------------------------------------------------------------------------------

    def fileno(self) -> int:
        """Of its socket; below 0 where there is none. From any thread."""
        writer = self._writer
        sock = None if writer is None else writer.get_extra_info("socket")
        return -1 if sock is None else int(sock.fileno())

    def news(self) -> Callable[[int], Any]:
        """What tells whether the server has sent something or hung up, whether or not the loop has read it. From any thread.

        It doesn't refer to the connection, since the pool counts who does.
        """
        reader, look = self._reader, watch(self.fileno())
        read: Any = reader._buffer

        def has_news(timeout: int) -> Any:
            return read or look(timeout) or reader.at_eof()

        return has_news

    def gone(self) -> bool:
        """Whether the server hung up, or sent what another has asked for. What it says unasked is no sign of death."""
        reader = self._reader
        if reader is None or reader.at_eof() or reader.exception() is not None:
            return True
        if read := bytes(reader._buffer[:1]):
            return read != _PUSH
        try:
            fileno, plain = self.fileno(), self._writer.get_extra_info("ssl_object") is None
            # TLS speaks of its own accord.
            return has_hung_up(fileno) or (plain and first_byte(fileno) not in (_PUSH, None))
        except (OSError, ValueError, AttributeError):  # closed meanwhile
            return True

    async def ask(self, query: str, seconds: float) -> None:
        """PING. Whatever the server says is an answer, also that it loads or that the user may not ask.

        Raises ``NoAnswer`` after ``seconds``, and the connection is broken off.
        """
        late = False

        def end() -> None:
            nonlocal late
            if self._reader is not None and self._reader._buffer:
                return  # it is there, and the loop was late
            late = True
            self.break_off()

        timer = asyncio.get_running_loop().call_later(seconds, end)
        try:
            await self.send_command(query, check_health=False)
            with suppress(redis.ResponseError):
                await self.read_response()
        except (redis.ConnectionError, redis.TimeoutError) as ex:
            if late:
                raise NoAnswer(f"no answer to {query} before the deadline") from ex
            raise
        finally:
            timer.cancel()

    # -- parting ------------------------------------------------------------------------------------------------------

    def break_off(self) -> None:
        """End the conversation that somebody may be in the middle of: they get redis-py's error."""
        if (fileno := self.fileno()) >= 0:
            hang_up(fileno)

    async def disconnect(self, *args: Any, **kwargs: Any) -> None:
        """redis-py's, but the server's end can still be heard."""
        self._prick_up()
        await super().disconnect(*args, **kwargs)  # type: ignore[misc]

    def _close(self) -> None:
        self._prick_up()
        super()._close()  # type: ignore[misc]

    def _prick_up(self) -> None:
        if (slot := self.slot) is not None:
            slot.has_news = _broken
        with self._ear_lock:
            if self._ear is None and (fileno := self.fileno()) >= 0:
                with suppress(OSError):
                    self._ear = Ear(fileno)
                    self._ear.hang_up()

    def part_from_outside(self) -> None:
        """Say good-bye for ever, in whatever thread, where the loop doesn't run that ``let_go()`` is for."""
        self.parted = True
        self._prick_up()

    def let_go(self) -> None:
        """Close for ever, without waiting."""
        self.part_from_outside()
        writer, self._writer, self._reader = self._writer, None, None
        if writer is None:
            return
        self._parser.on_disconnect()
        with suppress(RuntimeError):  # the loop is closed, and so is what it kept
            writer.transport.abort()

    def take_ear(self) -> Ear | None:
        """What hears the server's end of the socket that was closed last; once."""
        with self._ear_lock:
            ear, self._ear = self._ear, None
            return ear

    def let_go_unheard(self) -> None:
        """Close for ever, where nobody counts the server's ends."""
        self.let_go()
        if (ear := self.take_ear()) is not None:
            ear.close()


async def _heard(ear: Ear, seconds: float) -> None:
    # In a thread, since it waits for a socket that is the loop's no more.
    await asyncio.get_running_loop().run_in_executor(None, ear.hears_the_end, monotonic() + seconds)


@cache
def tracked(connection_class: type[Any]) -> type[Any]:
    """A subclass that the pool can follow; it goes by the same name."""
    names = {"__module__": connection_class.__module__, "__qualname__": connection_class.__qualname__}
    return type(connection_class.__name__, (AsyncTracked, connection_class), names)
