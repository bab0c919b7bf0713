"""Who is told of checkouts that had to wait for a connection, or got none. Whoever gets one at once never comes here."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic
from typing import NamedTuple

logger = logging.getLogger("poolmgr.pool")


class Wait(NamedTuple):
    """One checkout's: ``seconds`` from asking to its end, and the name of the ``error`` that it ended in, or ""."""

    target: str
    seconds: float
    error: str


_listeners: list[Callable[[Wait], None]] = []


def on_wait(listener: Callable[[Wait], None]) -> None:
    """Call ``listener`` in the thread or task of each who has waited or failed, with no lock held. It must not block."""
    _listeners.append(listener)


def tell(target: str, asked: float, error: BaseException | None = None) -> None:
    """A checkout ended that was ``asked`` for then, on the monotonic clock; never raises."""
    if not _listeners:
        return
    wait = Wait(target, monotonic() - asked, "" if error is None else type(error).__name__)
    for listener in _listeners:
        try:
            listener(wait)
        except Exception:  # what watches must not fail a request
            logger.exception("pool %r: who is told of waits failed", target)
