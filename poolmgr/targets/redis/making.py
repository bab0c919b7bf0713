"""A pool by what the settings say, or a sentence about what is wrong with that."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from poolmgr.exceptions import ConfigurationError
from poolmgr.secrets import HIDDEN
from poolmgr.targets.redis.library import redis

Made = TypeVar("Made", bound=Any)


def made_by(make: Callable[[], Made], where: str) -> Made:
    """What ``make()`` returns, if redis-py can connect by it; ``where`` the URL stands, and the options beside it.

    Raises ``ConfigurationError``, by which nobody comes to the frames in which redis-py takes the URL apart, ``InvalidSpec``.
    """
    if (made := tried(make)) is not None:
        return made
    raise ConfigurationError(
        f"{where} is {HIDDEN}, but must be a URL that redis-py understands, with no other options after the ? or beside it"
        " than redis-py's own"
    )


def tried(make: Callable[[], Made]) -> Made | None:
    """What ``make()`` returns; None where redis-py can't connect by it. Raises ``ConfigurationError``, ``InvalidSpec``."""
    with suppress(ValueError, TypeError, redis.RedisError):
        made = make()
        # Made and not connected: what redis-py does not know, it would otherwise refuse at every use.
        made.make_connection()
        return made
    return None
