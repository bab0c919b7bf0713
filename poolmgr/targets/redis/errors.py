"""Checkout errors that are redis-py's of the same meaning too, so that the handlers a site already has keep working."""

from __future__ import annotations

from poolmgr import exceptions as shared
from poolmgr.exceptions import errors_of
from poolmgr.targets.redis.library import redis


class PoolExhausted(shared.PoolExhausted, redis.exceptions.MaxConnectionsError):
    """Every connection stayed in use until the deadline."""


class TooManyWaiting(shared.TooManyWaiting, PoolExhausted):
    """``max_waiting`` requests wait already."""


class PoolPaused(shared.PoolPaused, redis.exceptions.MaxConnectionsError):
    """The pool was paused until the deadline. A cluster's client must not take it for a node that is away."""


class PoolClosed(shared.PoolClosed, redis.ConnectionError):
    """The pool was closed, as happens at shutdown."""


class ServerDown(shared.ServerDown, redis.ConnectionError):
    """The server can't be reached."""


class ServerFull(shared.ServerFull, redis.ConnectionError):
    """The server has no room for another client."""


class AuthenticationFailed(shared.AuthenticationFailed, redis.AuthenticationError):
    """The server refuses the credentials, or the database doesn't exist."""


ERRORS = errors_of(PoolExhausted, TooManyWaiting, PoolPaused, PoolClosed, ServerDown, ServerFull, AuthenticationFailed)
