"""redis-py's connections, of whatever class, with what the pool must know of them."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from functools import cache
from time import monotonic
from typing import Any

from poolmgr.pools.core.slot import Slot
from poolmgr.pools.core.ticker import ticker
from poolmgr.pools.sockets import hang_up, hears_the_end, watch
from poolmgr.targets.redis.library import redis
from poolmgr.targets.redis.traffic import Traffic

#: Seconds for which a borrower that connects again waits for the server to close what they had.
_LINGER = 0.5


class _Ear:
    """A socket on its way out: redis-py shuts and closes it, and it can still tell when the server has closed its end."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock

    def shutdown(self, how: int) -> None:
        self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Not yet."""

    def hears_the_end(self, deadline: float) -> bool:
        return hears_the_end(self._sock, deadline)


def _broken(timeout: int) -> bool:
    return True


class Tracked:
    """What ``tracked()`` puts before a connection class. ``slot`` is the pool's, ``server_id`` what the server calls it.

    A borrower's commands may connect it again after an error, in place: then the slot learns of the new socket.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.slot: Slot | None = None
        self.server_id = 0
        self._ear: _Ear | None = None
        self._parted = False
        self._connecting_until = 0.0
        super().__init__(*args, **kwargs)
        self.traffic = Traffic(self._command_packer.pack, self.db)
        self._command_packer: Any = self.traffic
        self.register_connect_callback(self._connected)

    # What redis-py's classes have.
    _sock: Any
    db: Any
    register_connect_callback: Any
    connect_check_health: Any
    send_command: Any
    can_read: Any
    socket_connect_timeout: Any
    _should_reconnect: Any

    def is_as_connected(self) -> bool:
        """Whether whoever has it next finds what the site asked for at the connect, and no reply of another's."""
        return not self.traffic.owed and not self.traffic.left

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        """redis-py's."""
        self.traffic.owed -= 1
        return super().read_response(*args, **kwargs)  # type: ignore[misc]

    def re_auth(self) -> None:
        """redis-py's: the site's own credentials are new."""
        super().re_auth()  # type: ignore[misc]
        self.traffic.left.discard("AUTH")

    def connect_within(self, seconds: float) -> None:
        """Connect and log in, without redis-py's own tries again, for up to ``seconds``."""
        configured = self.socket_connect_timeout
        self.socket_connect_timeout = min(configured or seconds, seconds)
        self._connecting_until = monotonic() + seconds
        ticker().at(self._connecting_until, self._too_late)
        try:
            self._connect_once()
        except redis.ConnectionError as ex:
            if monotonic() >= self._connecting_until:
                raise redis.TimeoutError(f"no answer within {seconds:g} s") from ex
            raise
        finally:
            self._connecting_until = 0.0
            self.socket_connect_timeout = configured

    def _connect_once(self) -> None:
        if (find_and_connect := getattr(self, "_connect_retry", None)) is not None:
            find_and_connect()  # by Sentinel, which is asked for the address first
        else:
            self.connect_check_health(check_health=True, retry_socket_connect=False)

    def _too_late(self) -> None:
        """A server that accepts and says nothing."""
        if self._connecting_until and (sock := self._sock) is not None:
            with suppress(OSError):
                hang_up(sock.fileno())

    def _connect(self) -> Any:
        if self._parted:
            raise redis.ConnectionError("the pool has taken this connection back")
        # The server must not have two of one place.
        self.hear_out(monotonic() + _LINGER)
        return super()._connect()  # type: ignore[misc]

    def _connected(self, connection: Any) -> None:
        self.server_id = self._ask_for_id()
        self.traffic.begin()
        if (slot := self.slot) is not None:
            slot.pid = self.server_id
            slot.has_news = watch(self._sock.fileno())
            slot.pool.count(created=1, closed=1)
            self.traffic.begin_anew()

    def _ask_for_id(self) -> int:
        self.send_command("CLIENT", "ID", check_health=False)
        try:
            answer = self.read_response()
        except redis.ResponseError:  # an old server, or a user who may not ask
            return 0
        # What stands between may have answered, as a proxy that says OK to each CLIENT.
        return answer if isinstance(answer, int) else 0

    def disconnect(self, *args: Any, **kwargs: Any) -> None:
        """redis-py's, but the server's end can still be heard."""
        if (slot := self.slot) is not None:
            slot.has_news = _broken
        if self._sock is not None and os.getpid() == self.pid:  # type: ignore[attr-defined]
            # Disconnecting may be done again by another, where whoever began it was interrupted.
            self._ear = self._sock if isinstance(self._sock, _Ear) else _Ear(self._sock)
            self._sock = self._ear
        super().disconnect(*args, **kwargs)  # type: ignore[misc]

    def part(self, deadline: float) -> bool:
        """Disconnect for ever; whether the server was seen to close its end by ``deadline`` on the monotonic clock."""
        self._parted = True
        self.disconnect()
        return self.hear_out(deadline)

    def hear_out(self, deadline: float) -> bool:
        ear, self._ear = self._ear, None
        return ear is None or ear.hears_the_end(deadline)


@cache
def tracked(connection_class: type[Any]) -> type[Any]:
    """A subclass that the pool can follow; it goes by the same name."""
    names = {"__module__": connection_class.__module__, "__qualname__": connection_class.__qualname__}
    return type(connection_class.__name__, (Tracked, connection_class), names)
