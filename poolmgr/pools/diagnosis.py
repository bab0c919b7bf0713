"""Why a connection could not be opened, from the words of libpq and the server."""

from __future__ import annotations

import re
from dataclasses import dataclass

from psycopg import errors

from poolmgr.exceptions import AuthenticationFailed, CheckoutError, ServerDown, ServerFull
from poolmgr.secrets import scrub_unread


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The class of checkout error that fits, and a sentence for people that holds no secret."""

    cls: type[CheckoutError]
    sentence: str


# libpq gives no SQLSTATE for a failed connect, so its words have to do. Order matters: the first match wins.
_WORDS: tuple[tuple[type[CheckoutError], str, str], ...] = (
    (
        ServerFull,
        "the server has no connection slot left",
        r"too many clients|remaining connection slots|too many connections",
    ),
    (
        AuthenticationFailed,
        "the server refuses the password",
        r"password authentication failed|no password supplied",
    ),
    (
        AuthenticationFailed,
        "the server refuses this user or host",
        r"no pg_hba\.conf entry|authentication failed|pg_hba\.conf rejects",
    ),
    (AuthenticationFailed, "the database does not exist", r"database \S+ does not exist"),
    # Of a statement, while libpq's own words begin with what failed.
    (AuthenticationFailed, "the role that assume_role names does not exist", r"^role \S+ does not exist"),
    (AuthenticationFailed, "the user may not take the role that assume_role names", r"permission denied to set role"),
    (AuthenticationFailed, "the user may not log in", r"role \S+ does not exist|not permitted to log in"),
    (
        ServerDown,
        "the host name can't be resolved",
        r"could not translate host name|failed to resolve|name or service not known|nodename nor servname",
    ),
    (ServerDown, "nothing listens at the address", r"connection refused|no such file or directory"),
    (ServerDown, "the server is starting or stopping", r"starting up|shutting down|recovery mode"),
    (ServerDown, "the server does not answer", r"timeout expired|timed out|no answer"),
    (ServerDown, "the host can't be reached", r"no route to host|network is unreachable|host is down"),
    (
        ServerDown,
        "the server closed the connection",
        r"closed the connection unexpectedly|connection reset|eof detected|terminating connection",
    ),
)
_KNOWN = tuple((re.compile(pattern, re.IGNORECASE), cls, sentence) for cls, sentence, pattern in _WORDS)


def diagnose(error: BaseException) -> Diagnosis:
    """Classify the error of a connect, or of a query of ours on a connection.

    What the server says of a query is not repeated: it may quote what the query read. libpq's own words, without an
    SQLSTATE, say what failed in a connect.
    """
    text = str(error)
    if isinstance(error, errors.ConnectionTimeout):
        return Diagnosis(ServerDown, "the server does not answer")
    for pattern, cls, sentence in _KNOWN:
        if pattern.search(text):
            return Diagnosis(cls, sentence)
    if state := getattr(error, "sqlstate", None):
        return Diagnosis(ServerDown, f"the server refuses with SQLSTATE {state} ({_name_of(state)})")
    return Diagnosis(
        ServerDown, scrub_unread(text.strip().splitlines()[-1])[:200] if text.strip() else type(error).__name__
    )


def _name_of(state: str) -> str:
    try:
        return errors.lookup(state).__name__
    except KeyError:
        return "unknown"
