"""Checkout errors that are psycopg_pool's of the same meaning too, so that the handlers a site already has keep working."""

from __future__ import annotations

import psycopg_pool

from poolmgr import exceptions as shared
from poolmgr.exceptions import errors_of


class PoolExhausted(shared.PoolExhausted, psycopg_pool.PoolTimeout):
    """Every connection stayed in use until the deadline."""


class TooManyWaiting(shared.TooManyWaiting, PoolExhausted, psycopg_pool.TooManyRequests):
    """``max_waiting`` requests wait already."""


class PoolPaused(shared.PoolPaused, psycopg_pool.PoolTimeout):
    """The pool was paused until the deadline."""


class PoolClosed(shared.PoolClosed, psycopg_pool.PoolClosed):
    """The pool was closed, as happens at shutdown."""


class ServerDown(shared.ServerDown, psycopg_pool.PoolTimeout):
    """The server can't be reached."""


class ServerFull(shared.ServerFull, psycopg_pool.PoolTimeout):
    """The server has no connection slot left."""


class AuthenticationFailed(shared.AuthenticationFailed, psycopg_pool.PoolTimeout):
    """The server refuses the credentials, or the database doesn't exist."""


ERRORS = errors_of(PoolExhausted, TooManyWaiting, PoolPaused, PoolClosed, ServerDown, ServerFull, AuthenticationFailed)
