"""PgBouncer's console: one connection, a deadline for all that is asked on it, and a sentence for each way to be refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic, sleep
from typing import Any

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.rows import dict_row

from poolmgr.exceptions import AuthenticationFailed, CheckoutError, ServerDown
from poolmgr.identity import application_name
from poolmgr.metrics.phrases import phrase
from poolmgr.pools.diagnosis import Diagnosis, Words
from poolmgr.pools.diagnosis import diagnose as diagnose_postgresql
from poolmgr.pools.endings import ended_after
from poolmgr.pools.sockets import hang_up
from poolmgr.secrets import disarm, scrub
from poolmgr.targets.pgbouncer.words import named

#: Seconds for all that is asked in one go. The console answers in fractions of a millisecond.
PATIENCE = 3.0
#: Seconds that logins are waited for, and between two looks at them; so many looks in a row find none.
LOGINS, _MOMENT, _QUIET = 1.0, 0.002, 4

_WORDS = Words(
    (
        AuthenticationFailed,
        phrase("PgBouncer does not let this user into its console: name it in admin_users of pgbouncer.ini"),
        r"FATAL:\s+not allowed",
    ),
    (
        AuthenticationFailed,
        phrase(
            "the console's user may look and change nothing: name it in admin_users of pgbouncer.ini, not in stats_users"
        ),
        r"admin access needed",
    ),
    (
        AuthenticationFailed,
        phrase("PgBouncer knows no such user: put the console's user into its auth_file"),
        r"no such user",
    ),
    (
        AuthenticationFailed,
        phrase("PgBouncer can't ask auth_query for the console's user: put that user into its auth_file"),
        # What it says of its own login to the server, with which it would ask.
        r"bouncer config error|server login|password authentication failed for user",
    ),
    (
        AuthenticationFailed,
        phrase("PgBouncer refuses the password, or has no such user in its auth_file"),
        r"SASL authentication failed|password authentication failed",
    ),
    (AuthenticationFailed, phrase("PgBouncer asks for a password, and the URL has none"), r"no password supplied"),
    (
        AuthenticationFailed,
        phrase("PgBouncer's auth_hba_file lets nobody into the console from here as this user"),
        r"login rejected|no authentication method",
    ),
    (
        AuthenticationFailed,
        phrase("no PgBouncer answers there, but a server that has no such console"),
        r"database \S+ does not exist|unrecognized configuration parameter",
    ),
)
_UNKNOWN = re.compile("invalid command", re.IGNORECASE)
_UNREAD = Diagnosis(
    ServerDown, phrase("PgBouncer can't read what its file says, and goes on as before; its log tells the line")
)
_SILENT = Diagnosis(
    ServerDown,
    phrase(
        "PgBouncer's console does not answer; where its user is known by auth_query only, put that user into auth_file, since"
        " old versions leave it waiting"
    ),
)


def diagnose(error: BaseException) -> Diagnosis:
    """The class and the sentence for what kept a console from answering."""
    if isinstance(error, CheckoutError):
        return Diagnosis(type(error), str(error))
    if isinstance(error, psycopg.errors.ConnectionTimeout):
        return _SILENT
    if (found := _WORDS.find(error)) is not None:
        return found
    if isinstance(error, psycopg.errors.ProtocolViolation):  # what the console says of a command that it refuses
        return Diagnosis(ServerDown, f"PgBouncer's console refuses: {scrub(str(error).splitlines()[0])[:200]}")
    if isinstance(error, psycopg.errors.ConfigFileError):  # of RELOAD, from version 1.25 on
        return _UNREAD
    return diagnose_postgresql(error)


class _Text(Loader):
    """Any bytes: names are what clients give, whatever their encoding, and none of them may hide the rest."""

    def load(self, data: Buffer) -> str:
        return bytes(data).decode("utf-8", "replace")


class Console:
    """Connects when it is first asked, and again after an error. Used by one thread.

    ``late`` says that the last block was not done in time.
    """

    def __init__(self, url: str, target: str) -> None:
        self._url, self._target = url, target
        self._connection: psycopg.Connection[dict[str, Any]] | None = None
        self._unknown: set[str] = set()
        self.late = False

    @contextmanager
    def within(self, seconds: float = PATIENCE) -> Iterator[None]:
        """All that is asked in the block has so long together; an error in it ends the connection.

        Raises a ``CheckoutError`` that holds a sentence and no secret.
        """
        failed: CheckoutError | None = None
        self.late = False
        with ended_after(seconds, self._break_off):
            try:
                yield
            except (psycopg.Error, OSError) as error:
                self.close()
                found = _SILENT if self.late else diagnose(disarm(error))
                failed = found.cls(found.sentence, self._target)
        if failed is not None:
            raise failed

    def rows(self, what: str) -> list[dict[str, Any]]:
        """What SHOW answers. Columns differ by version: read them by name."""
        return self._open().execute(f"SHOW {what}").fetchall()

    def rows_if_known(self, what: str) -> list[dict[str, Any]]:
        """The same, and nothing from a version that has no such list, which is asked once: it logs that as an error."""
        if what in self._unknown:
            return []
        try:
            return self.rows(what)
        except psycopg.errors.ProtocolViolation as error:
            if not _UNKNOWN.search(str(error)):
                raise
        self._unknown.add(what)
        return []

    def order(self, command: str) -> str:
        """Have it carry out a command; the tag that it answers with. Raises psycopg's error where it refuses."""
        return self._open().execute(command).statusmessage or ""

    def open(self) -> None:
        self._open()

    def close(self) -> None:
        connection, self._connection = self._connection, None
        self._unknown.clear()  # it may be a newer one by the next time
        if connection is not None:
            with suppress(Exception):
                connection.close()

    def _open(self) -> psycopg.Connection[dict[str, Any]]:
        if self._connection is None:
            # The console knows no prepared statements, which psycopg makes of what it is asked often.
            self._connection = psycopg.connect(
                self._url,
                autocommit=True,
                prepare_threshold=None,
                row_factory=dict_row,
                connect_timeout=2,
                fallback_application_name=application_name(),
            )
            self._connection.adapters.register_loader("text", _Text)
        return self._connection

    def _break_off(self) -> None:
        self.late = True
        if (connection := self._connection) is not None:
            with suppress(psycopg.Error):  # closed meanwhile
                hang_up(connection.fileno())


def let_log_in(console: Console, database: str) -> None:
    """Wait until no server connection is just being opened, and none has been for a moment.

    PgBouncer takes one that RECONNECT or PAUSE cuts off for a login that failed, and serves nobody for server_login_retry.
    """
    until = monotonic() + LOGINS
    quiet, before = 0, -1
    while quiet < _QUIET and monotonic() < until:
        rows = [row for row in console.rows("POOLS") if row["database"] == database]
        there = sum(int(row[name]) for row in rows for name in ("sv_active", "sv_idle", "sv_used", "sv_tested"))
        is_quiet = there == before and not any(int(row["sv_login"]) for row in rows)
        quiet, before = quiet + 1 if is_quiet else 0, there
        if quiet < _QUIET:
            sleep(_MOMENT)


def carry_out(url: str, target: str, command: str, database: str, seconds: float) -> str:
    """Give a command on a connection of its own, which it may keep waiting; its tag, "" where it was at it still.

    A PAUSE holds from when it is given, and is not undone when whoever gave it hangs up. Raises ``CheckoutError``.
    """
    console, connected = Console(url, target), False
    try:
        with console.within():
            console.open()
            if command == "PAUSE":
                let_log_in(console, database)
        connected = True
        with console.within(seconds):
            return console.order(f"{command} {named(database)}")
    except CheckoutError as error:
        if connected and console.late:
            return ""
        if command == "RESUME" and "is not paused" in str(error):
            return command
        raise
    finally:
        console.close()
