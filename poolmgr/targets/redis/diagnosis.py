"""Why a connection could not be opened, from redis-py's classes and the server's words."""

from __future__ import annotations

import errno

from poolmgr.exceptions import AuthenticationFailed, ServerDown, ServerFull
from poolmgr.metrics.phrases import phrase
from poolmgr.pools.core.driver import NoAnswer
from poolmgr.pools.diagnosis import Diagnosis, Words, in_its_words
from poolmgr.secrets import scrub
from poolmgr.targets.redis.library import redis

_REFUSED = f"({errno.ECONNREFUSED}|{errno.ENOENT})"
_NO_WAY = f"({errno.EHOSTUNREACH}|{errno.ENETUNREACH}|{errno.EHOSTDOWN})"
_WORDS = Words(
    (ServerDown, phrase("no Sentinel names a master"), r"no master found"),
    (ServerDown, phrase("no Sentinel names a replica, or a master in its place"), r"no slave found"),
    (ServerFull, phrase("the server has no room for another client"), r"max number of clients"),
    (
        AuthenticationFailed,
        phrase("the database does not exist"),
        r"db index is out of range|invalid database|invalid db index",
    ),
    (
        ServerDown,
        phrase("the server's certificate is for another name"),
        r"certificate is not valid for|hostname mismatch",
    ),
    (ServerDown, phrase("the server's certificate has expired"), r"certificate has expired"),
    (ServerDown, phrase("the server's certificate is not trusted"), r"certificate[ _]verify[ _]failed"),
    (
        ServerDown,
        phrase("the host name can't be resolved"),
        r"name or service not known|name resolution|nodename nor servname",
    ),
    # By asyncio there are the numbers alone.
    (
        ServerDown,
        phrase("nothing listens at the address"),
        rf"connection refused|no such file|\berror {_REFUSED} connecting",
    ),
    (ServerDown, phrase("the server does not answer"), r"timeout|timed out"),
    (
        ServerDown,
        phrase("the host can't be reached"),
        rf"no route to host|is unreachable|host is down|\berror {_NO_WAY} connecting",
    ),
    (ServerDown, phrase("the server closed the connection"), r"closed by server|connection reset|broken pipe"),
)


def is_of_the_server(error: BaseException) -> bool:
    """Whether redis-py or the system tells of a server that can't be reached or refuses; else the site's own code failed."""
    return isinstance(error, redis.RedisError | OSError | NoAnswer)


def diagnose(error: BaseException) -> Diagnosis:
    """Classify the error of a connect, or of a question of ours on a connection."""
    if isinstance(error, NoAnswer | redis.TimeoutError):
        return Diagnosis(ServerDown, phrase("the server does not answer"))
    if isinstance(error, redis.BusyLoadingError):
        return Diagnosis(ServerDown, phrase("the server is loading its data"))
    if isinstance(error, redis.AuthenticationError):
        return Diagnosis(AuthenticationFailed, phrase("the server refuses the user or the password"))
    if (found := _WORDS.find(error)) is not None:
        return found
    if isinstance(error, redis.exceptions.NoPermissionError):
        return Diagnosis(AuthenticationFailed, phrase("the user may not do what a connect does"))
    return in_its_words(error, scrub)
