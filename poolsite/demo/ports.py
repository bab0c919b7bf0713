"""TCP ports on the loopback interface."""

import secrets
import socket

HOST = "127.0.0.1"

# Below what systems hand out to outgoing connections (from 32768 on Linux, 49152 elsewhere): such a connection would take
# the port of a server that is down for a moment.
_LISTENED = range(20000, 32768)


def free_port() -> int:
    """A port nobody uses now. Another program may take it before it is used: callers try again with the next.

    Raises OSError when a hundred tries met none.
    """
    for _attempt in range(100):
        if not is_taken(port := secrets.choice(_LISTENED)):
            return port
    raise OSError(f"no free port found among {_LISTENED.start} to {_LISTENED.stop - 1} on {HOST}")


def is_taken(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: a port in TIME_WAIT is free, one that somebody listens on is not.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
    return False
