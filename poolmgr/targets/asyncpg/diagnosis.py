"""Why a connection could not be opened, from asyncpg's classes, the system's, and the words of the server."""

from __future__ import annotations

from poolmgr.exceptions import AuthenticationFailed, ServerDown
from poolmgr.metrics.phrases import phrase
from poolmgr.pools import diagnosis
from poolmgr.pools.core.driver import NoAnswer
from poolmgr.pools.diagnosis import Diagnosis, Words
from poolmgr.targets.asyncpg.library import asyncpg

#: What libpq says in other words.
_WORDS = Words(
    (ServerDown, phrase("nothing listens at the address"), r"connect call failed|multiple exceptions: \[errno 111\]"),
    (
        ServerDown,
        phrase("the server closed the connection"),
        r"connection was closed in the middle|unexpected connection_lost",
    ),
    (ServerDown, phrase("the server has no TLS"), r"rejected SSL upgrade"),
    (
        ServerDown,
        phrase("the server's certificate is for another name"),
        r"certificate is not valid for|hostname mismatch",
    ),
    (ServerDown, phrase("the server's certificate has expired"), r"certificate has expired"),
    (ServerDown, phrase("the server's certificate is not trusted"), r"certificate[ _]verify[ _]failed"),
    (
        ServerDown,
        phrase("no server of those named is of the kind that target_session_attrs asks for"),
        r"target attribute",
    ),
    (AuthenticationFailed, phrase("the server refuses the password"), r"password must be provided|no password"),
)
_OF_THE_SERVER = (OSError, NoAnswer, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


def is_of_the_server(error: BaseException) -> bool:
    """Whether asyncpg or the system tell of a server that can't be reached or refuses; else the site's own code, or what it
    says of the server, is wrong."""
    return isinstance(error, _OF_THE_SERVER) and not isinstance(error, asyncpg.ClientConfigurationError)


def diagnose(error: BaseException) -> Diagnosis:
    """Classify the error of a connect, or of a question of ours on a connection."""
    if isinstance(error, NoAnswer | TimeoutError):
        return Diagnosis(ServerDown, phrase("the server does not answer"))
    return _WORDS.find(error) or diagnosis.diagnose(error)
