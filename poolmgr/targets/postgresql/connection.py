"""A connection that notices what its borrower does to it without a statement."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from operator import attrgetter
from socket import socket
from typing import Any, get_origin
from weakref import finalize

import psycopg

from poolmgr.pools.cancelling import Cancel
from poolmgr.pools.forks import attend, here
from poolmgr.targets.postgresql.opening import Opening
from poolmgr.targets.postgresql.parting import abandon, is_busy, listen
from poolmgr.targets.postgresql.session import ASKING, SessionEntry

_CHARACTERISTICS = "transaction characteristics"
_ATTRIBUTE = "attribute of the connection"
_HANDLER = "notices or notifications"
_BLOCK = "block of psycopg's"
#: In the message where the server said that its process ends. Of a reset libpq says no more than of an end.
_SERVER_S_GOOD_BYE = (b"FATAL", b"PANIC", b"terminating connection")


def _pinning(name: str) -> Any:
    """An attribute of psycopg's that pins when it is set. Read at each cursor, hence by attrgetter and not by Python."""

    def write(self: PooledConnection, value: Any) -> None:
        setattr(self, f"_{name}", value)
        self._pin(_ATTRIBUTE)

    return property(attrgetter(f"_{name}"), write)


def _pinning_too(name: str) -> Any:
    """The same for what is a property in psycopg already."""
    theirs: Any = getattr(psycopg.Connection, name)

    def write(self: PooledConnection, value: Any) -> None:
        theirs.fset(self, value)
        self._pin(_ATTRIBUTE)

    return property(theirs.fget, write)


def _pinning_call(name: str, reason: str) -> Any:
    """A method of psycopg's, or of the site's own connection class, that pins once it has done its work."""

    def call(self: PooledConnection, *args: Any, **kwargs: Any) -> None:
        getattr(super(PooledConnection, self), name)(*args, **kwargs)
        self._pin(reason)

    return call


class PooledConnection(Opening):
    """A psycopg connection with its entry: what a borrower changes in Python pins it as a statement does.

    It has no entry while it is configured: what is set by then is what ``make_anew()`` goes back to.
    """

    entry: SessionEntry = None  # type: ignore[assignment]  # asked for at each statement: the class has one, too
    #: Made while there is a connection: none could be made of one that broke.
    canceller: Cancel
    ear: socket | None = None
    #: Whether a statement may run still on the server, although the connection is closed on our side.
    cut_off = False
    #: Whether whoever closes it hears the server's end by themselves.
    is_heard = False

    row_factory = _pinning("row_factory")
    cursor_factory = _pinning("cursor_factory")
    server_cursor_factory = _pinning("server_cursor_factory")
    prepare_threshold = _pinning_too("prepare_threshold")
    prepared_max = _pinning_too("prepared_max")

    set_isolation_level = _pinning_call("set_isolation_level", _CHARACTERISTICS)
    set_read_only = _pinning_call("set_read_only", _CHARACTERISTICS)
    set_deferrable = _pinning_call("set_deferrable", _CHARACTERISTICS)
    add_notice_handler = _pinning_call("add_notice_handler", _HANDLER)
    remove_notice_handler = _pinning_call("remove_notice_handler", _HANDLER)
    add_notify_handler = _pinning_call("add_notify_handler", _HANDLER)
    remove_notify_handler = _pinning_call("remove_notify_handler", _HANDLER)
    tpc_begin = _pinning_call("tpc_begin", "two-phase transaction")

    def enter(self, entry: SessionEntry, on_loss: Callable[[], object]) -> None:
        """Begin to keep account of it, as it is now. ``on_loss`` is called should it be collected before it ``left()``."""
        self._made = {name: getattr(self, name) for name in _ATTRIBUTES}
        self._made_handlers = self._notice_handlers[:], self._notify_handlers[:]
        self.entry = entry
        self.canceller = Cancel(self.pgconn)
        self._loss = finalize(self, on_loss)
        # Whatever interrupts those who part from it: what runs on it must not go on without anybody.
        self._collection = finalize(self, abandon, self.canceller)
        self._loss.atexit = self._collection.atexit = False

    def ended(self) -> None:
        """Called when it was parted from in good order."""
        self._collection.detach()

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        """psycopg's, by which all goes that it sends: in a forked child nothing of it reaches the parent's session."""
        if not here:
            attend()
        entry = self.entry
        if entry is None:
            return super().wait(gen, *args, **kwargs)
        entry.mark(ASKING)
        try:
            return super().wait(gen, *args, **kwargs)
        finally:
            entry.mark_answered(self._autocommit and not self.pgconn.transaction_status)

    def close(self) -> None:
        if not here:
            attend()
        if not (self.is_heard or self.closed):
            self._listen_on()
        super().close()

    def _listen_on(self) -> None:
        """Before it is closed, by its borrower or by whoever puts an interrupted parting right: its place is free when the
        server's process is gone."""
        self.cut_off = is_busy(self)
        with suppress(OSError):  # in a forked child it leads nowhere
            self.ear = listen(self.pgconn)
        if (entry := getattr(self, "entry", None)) is not None:
            entry.has_news = _always  # the number of the socket may be another's in a moment

    def broke_in_use(self) -> None:
        """Called for one that broke while somebody had it: unless the server closed it, it doesn't know of that yet."""
        message = b"" if self._closed else self.pgconn.error_message
        self.cut_off = self.cut_off or (self.broken and not any(words in message for words in _SERVER_S_GOOD_BYE))

    def greet(self, hook: Callable[[], object]) -> bool:
        """Have ``hook`` prepare it for another library; whether that left what pins.

        Handlers that it adds are as those of the settings from now on: they hear, and change nothing for other borrowers.
        """
        before = set(self.entry.pins)
        hook()
        # Each once, however often it is greeted.
        self._notice_handlers[:] = dict.fromkeys(self._notice_handlers)
        self._notify_handlers[:] = dict.fromkeys(self._notify_handlers)
        self._made_handlers = self._notice_handlers[:], self._notify_handlers[:]
        self.entry.pins -= {_HANDLER} - before
        return not self.entry.pins <= before

    def read(self, work: Callable[[], object]) -> None:
        """Have ``work`` run, which only reads: it pins nothing, whatever cursors it has."""
        before = set(self.entry.pins)
        work()
        self.entry.pins = before

    def left(self) -> None:
        """Its place in the pool was given up, or given to another."""
        if hasattr(self, "_loss"):
            self._loss.detach()

    def make_anew(self) -> None:
        """Forget what borrowers have set, and what psycopg knows of prepared statements; the pins stay as they are."""
        pins = set(self.entry.pins)
        self.isolation_level = self.read_only = self.deferrable = None
        for name, value in self._made.items():
            setattr(self, name, value)
        self._notice_handlers[:], self._notify_handlers[:] = self._made_handlers
        self._drop_notifications()
        # The server has dropped them: they must be neither used nor deallocated once more.
        self._prepared.clear()
        self._prepared._to_flush.clear()
        self.entry.pins = pins

    def _drop_notifications(self) -> None:
        # What came for a channel that is no longer listened to, and that nobody has read.
        while self.pgconn.notifies():
            pass
        if self._notifies_backlog:
            self._notifies_backlog.clear()

    def rolled_back(self) -> None:
        """Tell psycopg of a ROLLBACK that it did not send: statements prepared in the transaction may be gone."""
        self._prepared.clear()

    @property
    def is_entangled(self) -> bool:
        """Whether psycopg is in the middle of something of a borrower's that only that borrower's code could end."""
        return bool(self._num_transactions or self._tpc or self._pipeline or self.lock.locked())

    @contextmanager
    def pipeline(self) -> Iterator[Any]:
        self._pin(_BLOCK)
        with super().pipeline() as pipeline:
            yield pipeline
        self._unpin_block()

    @contextmanager
    def transaction(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        self._pin(_BLOCK)
        with super().transaction(*args, **kwargs) as transaction:
            yield transaction
        self._unpin_block()

    def _unpin_block(self) -> None:
        if (entry := getattr(self, "entry", None)) and not self.is_entangled:
            entry.pins.discard(_BLOCK)

    def notifies(self, *args: Any, **kwargs: Any) -> Generator[Any]:
        self._pin(_HANDLER)
        yield from super().notifies(*args, **kwargs)

    def _pin(self, reason: str) -> None:
        if entry := getattr(self, "entry", None):
            entry.pins.add(reason)


def _always(timeout: int) -> bool:
    return True


@cache
def pooled(given: Any, ours: type[PooledConnection] = PooledConnection) -> type[PooledConnection]:
    """A connection class of the site's own as one that is also ``ours``."""
    theirs: type[Any] = get_origin(given) or given
    return theirs if issubclass(theirs, ours) else type(theirs.__name__, (ours, theirs), {})


def adopt(conn: Any, ours: type[PooledConnection]) -> None:
    """Make ``conn`` one of ours: what patches ``Connection.connect()`` may lose the class that it was called on."""
    for name in _PLAIN:
        conn.__dict__[f"_{name}"] = conn.__dict__.pop(name)
    conn.__class__ = ours


#: Those that are no properties in psycopg.
_PLAIN = ("row_factory", "cursor_factory", "server_cursor_factory")
_ATTRIBUTES = (*_PLAIN, "prepare_threshold", "prepared_max")
