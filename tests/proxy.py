"""A TCP proxy that misbehaves on request, between a pool and its server."""

import contextlib
import select
import socket
import struct
import threading

from poolsite.demo.ports import HOST, free_port


class Proxy:
    """Forwards 127.0.0.1:`port` to the server.

    `freeze()` stops reading in both directions: to each end the other one is a host whose packets vanish. `refuse()`
    stops listening and keeps the port, so that nobody else answers there; `accept()` listens again. `reset()` breaks
    every connection with a TCP reset that has been sent when it returns. `delay` holds back the first bytes of each new
    connection for so many seconds. `keeps_ends` has a client hear all that its server says but that it has hung up.
    While it is `mute`, what servers answer is lost on the way.
    """

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.server = (host, port)
        self.delay = 0.0
        self.accepted = 0
        self.frozen = self.keeps_ends = self.mute = False
        self._lock = threading.Lock()
        self._links: set[_Link] = set()
        self._listener, self.port = _bound()
        self._serving: threading.Thread | None = None
        self.accept()

    def accept(self) -> None:
        self._listener.listen(128)
        self._serving = threading.Thread(target=self._serve, daemon=True)
        self._serving.start()

    def refuse(self) -> None:
        if self._serving is not None:
            # A bound socket that doesn't listen refuses; a thread that blocks in accept() hears of it.
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._serving.join(5)
            self._serving = None

    def freeze(self) -> None:
        self.frozen = True
        self._wake()

    def thaw(self) -> None:
        self.frozen = False
        self._wake()

    def reset(self) -> None:
        for link in self._wake(end=True):
            link.thread.join(5)

    def close(self) -> None:
        self.refuse()
        self._listener.close()
        self.reset()

    @property
    def carried(self) -> int:
        """How many connections go through it; one is counted until what its server said last, and its end, is passed on."""
        with self._lock:
            return len(self._links)

    def _wake(self, end: bool = False) -> "list[_Link]":
        with self._lock:
            links = list(self._links)
        for link in links:
            link.ended = link.ended or end
            with contextlib.suppress(OSError):
                link.alarm.send(b"!")
        return links

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            link = _Link(self, client)
            with self._lock:
                self._links.add(link)
            link.thread.start()

    def forget(self, link: "_Link") -> None:
        with self._lock:
            self._links.discard(link)


def _bound() -> tuple[socket.socket, int]:
    """A socket that has its port, and which."""
    while True:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port := free_port()))
        except OSError:
            listener.close()
        else:
            return listener, port


class _Link:
    """One connection through the proxy. Its thread alone uses the sockets, so that what it closes is closed at once."""

    def __init__(self, proxy: Proxy, client: socket.socket) -> None:
        self.proxy = proxy
        self.client = client
        self.ended = False
        self.alarm, self._ear = socket.socketpair()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        ends = [self.client]
        try:
            self._listen([], self.proxy.delay or 0)
            while self.proxy.frozen and not self.ended:
                self._listen([])
            if not self.ended:
                ends.append(socket.create_connection(self.proxy.server))
                self._forward(*ends)
        except OSError:
            pass
        finally:
            for end in ends:
                if self.ended:
                    # With nothing to linger for, close() sends a reset.
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.close()
            self.alarm.close()
            self._ear.close()
            self.proxy.forget(self)

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        other = {client: server, server: client}
        speaking = [client, server]
        while not self.ended:
            for end in self._listen([] if self.proxy.frozen else speaking):
                if data := end.recv(65536):
                    if not (self.proxy.mute and end is server):
                        other[end].sendall(data)
                elif end is server:
                    while self.proxy.keeps_ends and client in speaking and not self.ended:
                        if client in self._listen([client]) and not client.recv(65536):
                            break  # it has hung up by itself
                    return
                else:
                    # It listens still: a server that is at work hears of it later, and ends when it is done.
                    server.shutdown(socket.SHUT_WR)
                    speaking.remove(client)

    def _listen(self, ends: list[socket.socket], seconds: float | None = None) -> list[socket.socket]:
        """Those of `ends` that have something to read, after `seconds` or a word from the proxy at the latest."""
        readable, _, _ = select.select([*ends, self._ear], [], [], seconds)
        if self._ear in readable:
            self._ear.recv(16)
        return [] if self.proxy.frozen else [end for end in readable if end is not self._ear]
