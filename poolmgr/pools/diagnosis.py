"""Why a connection could not be opened, from the words of a library and its server; of libpq's and PostgreSQL's here."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from psycopg import errors

from poolmgr.exceptions import AuthenticationFailed, CheckoutError, ServerDown, ServerFull
from poolmgr.metrics.phrases import Phrase, phrase
from poolmgr.metrics.words import NO_SLOT
from poolmgr.secrets import scrub, scrub_unread


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The class of checkout error that fits, and a sentence for people that holds no secret."""

    cls: type[CheckoutError]
    sentence: str


class Words:
    """What errors say, each with the class and the sentence that it comes to: the first pattern that is found wins."""

    def __init__(self, *known: tuple[type[CheckoutError], str, str]) -> None:
        self._known = tuple((re.compile(pattern, re.IGNORECASE), Diagnosis(cls, said)) for cls, said, pattern in known)

    def find(self, error: BaseException) -> Diagnosis | None:
        text = str(error)
        return next((found for pattern, found in self._known if pattern.search(text)), None)


def in_its_words(error: BaseException, scrub: Callable[[str], str]) -> Diagnosis:
    """For an error that nobody knows: its last line, of which ``scrub`` takes what nobody may read."""
    if error.args and isinstance(said := error.args[0], Phrase):  # of ours
        return Diagnosis(ServerDown, said)
    text = str(error).strip()
    return Diagnosis(ServerDown, scrub(text.splitlines()[-1])[:200] if text else type(error).__name__)


# libpq gives no SQLSTATE for a failed connect, so its words have to do.
_WORDS = Words(
    (
        ServerFull,
        NO_SLOT,
        r"too many clients|remaining connection slots|too many connections",
    ),
    (ServerFull, phrase("PgBouncer takes no more clients: raise its max_client_conn"), r"no more connections allowed"),
    (
        AuthenticationFailed,
        phrase("the server refuses the password"),
        r"password authentication failed|no password supplied",
    ),
    (
        AuthenticationFailed,
        phrase("the server refuses this user or host"),
        r"no pg_hba\.conf entry|authentication failed|pg_hba\.conf rejects",
    ),
    (AuthenticationFailed, phrase("the database does not exist"), r"database \S+ does not exist"),
    # Of a statement, while libpq's own words begin with what failed.
    (AuthenticationFailed, phrase("the role that assume_role names does not exist"), r"^role \S+ does not exist"),
    (
        AuthenticationFailed,
        phrase("the user may not take the role that assume_role names"),
        r"permission denied to set role",
    ),
    (AuthenticationFailed, phrase("the user may not log in"), r"role \S+ does not exist|not permitted to log in"),
    (
        ServerDown,
        phrase("the host name can't be resolved"),
        r"could not translate host name|failed to resolve|name or service not known|nodename nor servname",
    ),
    (ServerDown, phrase("nothing listens at the address"), r"connection refused|no such file or directory"),
    (ServerDown, phrase("the server is starting or stopping"), r"starting up|shutting down|recovery mode"),
    (ServerDown, phrase("the server does not answer"), r"timeout expired|timed out|no answer"),
    (ServerDown, phrase("the host can't be reached"), r"no route to host|network is unreachable|host is down"),
    (
        ServerDown,
        phrase("the server closed the connection"),
        r"closed the connection unexpectedly|connection reset|eof detected|terminating connection",
    ),
)


def diagnose(error: BaseException) -> Diagnosis:
    """Classify the error of a connect, or of a query of ours on a connection.

    What the server says of a query is not repeated: it may quote what the query read. libpq's own words, without an
    SQLSTATE, say what failed in a connect.
    """
    if isinstance(error, errors.ConnectionTimeout):
        return Diagnosis(ServerDown, phrase("the server does not answer"))
    if (found := _WORDS.find(error)) is not None:
        return found
    if state := getattr(error, "sqlstate", None):
        return Diagnosis(
            ServerDown,
            phrase("the server refuses with SQLSTATE %(state)s (%(name)s)", state=str(state), name=_name_of(state)),
        )
    return in_its_words(error, scrub_unread)


def words_of(error: BaseException) -> str:
    """What the server says of a query that it doesn't understand, such as of a table that isn't there; "" for another error.

    These come before anything was read: they quote the query, and no data.
    """
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None) or ""
    said = str(error).strip().partition("\n")[0].removeprefix("ERROR:").strip()
    return scrub(said)[:200] if str(state).startswith("42") else ""


def _name_of(state: str) -> str:
    try:
        return errors.lookup(state).__name__
    except KeyError:
        return "unknown"
