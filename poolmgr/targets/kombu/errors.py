"""Checkout errors that are kombu's of the same meaning too, and what a connect to a broker says that fails."""

from __future__ import annotations

import re

from poolmgr import exceptions as shared
from poolmgr.exceptions import AuthenticationFailed, CheckoutError, ServerDown
from poolmgr.pools.diagnosis import Diagnosis
from poolmgr.secrets import scrub
from poolmgr.targets.kombu.library import kombu


class PoolExhausted(shared.PoolExhausted, kombu.exceptions.ConnectionLimitExceeded):
    """Every connection stayed in use until the deadline."""


_WORDS: tuple[tuple[type[CheckoutError], str, str], ...] = (
    (
        AuthenticationFailed,
        "the broker refuses the user or the password",
        r"access_refused|authentication|password|noauth|noperm",
    ),
    (ServerDown, "the host name can't be resolved", r"name or service not known|name resolution|nodename nor servname"),
    (ServerDown, "nothing listens at the address", r"connection refused|no such file or directory"),
    (ServerDown, "the broker does not answer", r"timeout|timed out"),
    (ServerDown, "the host can't be reached", r"no route to host|network is unreachable|host is down"),
    (ServerDown, "the broker closed the connection", r"closed by server|connection reset|broken pipe"),
)
_KNOWN = tuple((re.compile(pattern, re.IGNORECASE), cls, sentence) for cls, sentence, pattern in _WORDS)


def diagnose(error: BaseException) -> Diagnosis:
    """Classify the error of a connect."""
    text = str(error)
    for pattern, cls, sentence in _KNOWN:
        if pattern.search(text):
            return Diagnosis(cls, sentence)
    return Diagnosis(ServerDown, scrub(text.strip().splitlines()[-1])[:200] if text.strip() else type(error).__name__)
