"""Checkout errors that are kombu's of the same meaning too, and what a connect to a broker says that fails."""

from __future__ import annotations

from poolmgr import exceptions as shared
from poolmgr.exceptions import AuthenticationFailed, ServerDown
from poolmgr.metrics.phrases import phrase
from poolmgr.pools.diagnosis import Diagnosis, Words, in_its_words
from poolmgr.secrets import scrub
from poolmgr.targets.kombu.library import kombu


class PoolExhausted(shared.PoolExhausted, kombu.exceptions.ConnectionLimitExceeded):
    """Every connection stayed in use until the deadline."""


_WORDS = Words(
    (
        AuthenticationFailed,
        phrase("the broker refuses the user or the password"),
        r"access_refused|authentication|password|noauth|noperm",
    ),
    (
        ServerDown,
        phrase("the host name can't be resolved"),
        r"name or service not known|name resolution|nodename nor servname",
    ),
    (ServerDown, phrase("nothing listens at the address"), r"connection refused|no such file or directory"),
    (ServerDown, phrase("the broker does not answer"), r"timeout|timed out"),
    (ServerDown, phrase("the host can't be reached"), r"no route to host|network is unreachable|host is down"),
    (ServerDown, phrase("the broker closed the connection"), r"closed by server|connection reset|broken pipe"),
)


def diagnose(error: BaseException) -> Diagnosis:
    """Classify the error of a connect."""
    return _WORDS.find(error) or in_its_words(error, scrub)
