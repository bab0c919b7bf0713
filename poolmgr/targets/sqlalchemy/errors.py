"""Checkout errors that are SQLAlchemy's of the same meaning too, so that the handlers a site already has keep working."""

from __future__ import annotations

from typing import Any, cast

from poolmgr import exceptions as shared
from poolmgr.exceptions import errors_of
from poolmgr.targets.sqlalchemy.library import sqlalchemy

exc = sqlalchemy.exc


class PoolExhausted(shared.PoolExhausted, exc.TimeoutError):
    """Every connection stayed in use until the deadline."""


class TooManyWaiting(shared.TooManyWaiting, PoolExhausted):
    """``max_waiting`` requests wait already."""


class PoolPaused(shared.PoolPaused, exc.TimeoutError):
    """The pool was paused until the deadline."""


class PoolClosed(shared.PoolClosed, exc.InvalidRequestError):
    """The pool was closed, as happens at shutdown."""


class _NoConnection:
    """Makes SQLAlchemy's error of a connect, without a statement and without the driver's error, which may know secrets."""

    #: Else its words end with the address of a page.
    code = None
    args: tuple[Any, ...]
    target: str

    def __init__(self, message: str) -> None:
        exc.StatementError.__init__(cast(Any, self), message, None, None, None)

    def __reduce__(self) -> Any:
        return type(self), (self.args[0], self.target), self.__dict__


class ServerDown(shared.ServerDown, _NoConnection, exc.OperationalError):  # type: ignore[misc]
    """The server can't be reached."""


class ServerFull(shared.ServerFull, _NoConnection, exc.OperationalError):  # type: ignore[misc]
    """The server has no connection slot left."""


class AuthenticationFailed(shared.AuthenticationFailed, _NoConnection, exc.OperationalError):  # type: ignore[misc]
    """The server refuses the credentials, or the database doesn't exist."""


ERRORS = errors_of(PoolExhausted, TooManyWaiting, PoolPaused, PoolClosed, ServerDown, ServerFull, AuthenticationFailed)
