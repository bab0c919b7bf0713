"""What PostgreSQL says last on a connection whose library reads at once what comes, and may tell nobody."""

from __future__ import annotations

import re
from typing import Any

#: What each answer ends with: ReadyForQuery, but for its last byte.
_READY = b"Z\0\0\0\5"
#: An ErrorResponse after which the server hangs up. Its severity comes first, in a language, and then in English.
_ENDS = re.compile(rb"E\0.{3}S(?:[^\0]*\0V)?(?:FATAL|PANIC)\0", re.DOTALL)
#: The most that is kept of what follows an answer, in bytes.
_KEPT = 4096


class Listening:
    """A protocol between a transport and the library's own, to which it passes on all that it hears.

    ``rest`` is what came after the last answer, of which an idle connection has none, save for notices and the like.
    """

    def __init__(self, protocol: Any) -> None:
        self.rest = b""
        self._pass_on = protocol.data_received
        for name in ("connection_lost", "eof_received", "pause_writing", "resume_writing"):
            setattr(self, name, getattr(protocol, name))

    def data_received(self, data: bytes) -> None:
        """The transport's."""
        self.rest = b"" if data[-6:-1] == _READY else (self.rest + data[-_KEPT:])[-_KEPT:]
        self._pass_on(data)

    @property
    def has_heard_the_end(self) -> bool:
        """Whether the server has said that it ends the connection. Of one that is idle, from any thread."""
        rest = self.rest  # an answer may have come in pieces
        return bool(rest) and rest[-6:-1] != _READY and _ENDS.search(rest) is not None


def listen(transport: Any, protocol: Any) -> Listening:
    """Have ``transport`` say to a ``Listening`` what it said to ``protocol``."""
    listening = Listening(protocol)
    transport.set_protocol(listening)
    return listening
