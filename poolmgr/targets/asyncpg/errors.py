"""Checkout errors that are asyncpg's of the same meaning too, so that the handlers a site already has keep working."""

from __future__ import annotations

from poolmgr import exceptions as shared
from poolmgr.exceptions import errors_of
from poolmgr.targets.asyncpg.library import asyncpg


class PoolExhausted(shared.PoolExhausted, TimeoutError):
    """Every connection stayed in use until the deadline."""


class TooManyWaiting(shared.TooManyWaiting, PoolExhausted):
    """``max_waiting`` requests wait already."""


class PoolPaused(shared.PoolPaused, TimeoutError):
    """The pool was paused until the deadline."""


class PoolClosed(shared.PoolClosed, asyncpg.InterfaceError):  # type: ignore[misc]
    """The pool was closed, as happens at shutdown."""

    # asyncpg's words end with these where there are some.
    detail = hint = None


class ServerDown(shared.ServerDown, asyncpg.CannotConnectNowError, ConnectionError, TimeoutError):  # type: ignore[misc]
    """The server can't be reached before the deadline."""


class ServerFull(shared.ServerFull, asyncpg.TooManyConnectionsError):  # type: ignore[misc]
    """The server has no connection slot left."""


class AuthenticationFailed(shared.AuthenticationFailed, asyncpg.InvalidAuthorizationSpecificationError):  # type: ignore[misc]
    """The server refuses the credentials, or the database doesn't exist."""


ERRORS = errors_of(PoolExhausted, TooManyWaiting, PoolPaused, PoolClosed, ServerDown, ServerFull, AuthenticationFailed)
