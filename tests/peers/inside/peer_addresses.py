"""Addresses that a suite has written into it lead to the servers of this run, and to no other that this machine has."""

import json
import os
import socket
from typing import Any

_given = json.loads(os.environ["PEER_SUITE"])
_ports = {int(port): int(ours) for port, ours in _given["ports"].items()}
_paths: dict[str, str] = _given["paths"]
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def _ours(address: Any) -> Any:
    if isinstance(address, tuple) and address[0] in _LOOPBACK and address[1] in _ports:
        return ("127.0.0.1", _ports[address[1]], *address[2:])
    return _paths.get(address, address) if isinstance(address, str) else address


def _led(method: Any) -> Any:
    def connect(self: Any, address: Any) -> Any:
        if self.family == socket.AF_INET6 and _ours(address) != address:
            raise ConnectionRefusedError("the server of this run listens at 127.0.0.1")
        return method(self, _ours(address))

    return connect


socket.socket.connect = _led(socket.socket.connect)  # type: ignore[method-assign]
socket.socket.connect_ex = _led(socket.socket.connect_ex)  # type: ignore[method-assign]
