"""What was said on a connection, as far as it matters to whoever has it next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

#: Commands after which a connection isn't what it was, and that nothing undoes. ``RESET`` would also log it out.
_SUBSCRIBING = frozenset({"SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE"})
_LEAVING = _SUBSCRIBING | {
    *("AUTH", "HELLO", "RESET", "QUIT", "MONITOR", "SYNC", "PSYNC", "REPLCONF", "READONLY", "READWRITE")
}
#: Of CLIENT, those that change nothing of the connection that says them.
_HARMLESS_OF_CLIENT = frozenset(
    {"ID", "LIST", "INFO", "GETNAME", "GETREDIR", "TRACKINGINFO", "KILL", "PAUSE", "UNPAUSE", "UNBLOCK", "HELP"}
)
_UNDOING = frozenset({"EXEC", "DISCARD"})
_NOTED = _LEAVING | _UNDOING | {"MULTI", "WATCH", "UNWATCH", "SELECT", "CLIENT", "SCRIPT"}

#: Names of commands, as they were written, that need no second look; code holds few, but what a user types may be one.
_plain: set[Any] = set()
_MOST_PLAIN = 2000


class Traffic:
    """In the place of a connection's command packer, through which every command goes, a pipeline's too.

    ``owed`` are the replies that were not read yet; ``left`` says by which words the connection isn't as it was
    connected: somebody's MULTI, SELECT, name, subscription. ``said`` counts the commands.
    """

    __slots__ = ("_db", "_pack", "left", "owed", "said")

    def __init__(self, pack: Callable[..., Any], db: Any) -> None:
        self._pack = pack
        self._db = str(db or 0)
        self.owed = 0
        self.said = 0
        self.left: set[str] = set()

    def begin(self) -> None:
        """The connection is a new one, and what was said on it is what the site wants of each."""
        self.owed = 0
        self.left.clear()

    def standing(self) -> str:
        """What keeps its borrower listening, for people; empty where nothing does."""
        if self.left & _SUBSCRIBING:
            return "subscription"
        return "MONITOR" if "MONITOR" in self.left else ""

    def begin_anew(self) -> None:
        """The same in a borrower's hands. What they had packed before is said after it, and is not known any more."""
        self.left.add("CONNECT")

    def pack(self, *args: Any) -> Any:
        """redis-py's: the bytes of a command."""
        self.owed += 1
        self.said += 1
        try:
            if args[0] not in _plain:
                self._note(args)
        except TypeError:  # unhashable, such as a bytearray
            self._note(args)
        return self._pack(*args)

    def _note(self, args: tuple[Any, ...]) -> None:
        # A name may be of two words: "CLIENT SETNAME".
        name, *words = _text(args[0]).split() or [""]
        if name not in _NOTED:
            if len(_plain) < _MOST_PLAIN and isinstance(args[0], str | bytes):
                _plain.add(args[0])
        elif name in _UNDOING:
            self.left -= {"MULTI", "WATCH"}
        elif name == "UNWATCH":
            self.left -= set() if "MULTI" in self.left else {"WATCH"}
        else:
            self._leave(name, [*words, *map(_text, args[1:2])])

    def _leave(self, name: str, words: list[str]) -> None:
        word = words[0] if words else ""
        if name == "SELECT" and word == self._db:
            self.left.discard(name)
        elif name == "CLIENT":
            self.left |= set() if word in _HARMLESS_OF_CLIENT else {f"{name} {word}"}
        elif name != "SCRIPT" or word == "DEBUG":
            self.left.add(name)


def _text(value: Any) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        value = bytes(value).decode(errors="replace")
    return str(value).upper()
