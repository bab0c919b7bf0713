"""What a connection hands out: statements, cursors and transactions, each over with the checkout.

asyncpg's look whether that is over when a method is called. What it returns may begin later, as a task of its own does, and
would be said on the next borrower's connection.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Generator
from functools import wraps
from operator import methodcaller
from typing import Any

from asyncpg import cursor, prepared_stmt, transaction

from poolmgr.targets.asyncpg.library import asyncpg


def looking_when_it_begins(
    theirs: Callable[..., Any], look: Callable[[Any], object], lost: Callable[[Any, Exception], object]
) -> Callable[..., Any]:
    """A method of asyncpg's that is awaited, which looks when it is called, as one that does so when it begins too.

    ``look`` raises asyncpg's error for what is over. ``lost`` is told of errors that nobody has a name for.
    """

    async def begin(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return await theirs(self, *args, **kwargs)
        except (asyncpg.InternalServerError, asyncpg.InternalClientError) as ex:
            lost(self, ex)
            raise

    begin.__name__, begin.__qualname__ = theirs.__name__, theirs.__qualname__

    @wraps(theirs)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        look(self)
        return begin(self, *args, **kwargs)

    return call


def _lost(self: Any, error: Exception) -> None:
    self._connection.lost(error)


def _looking(cls: type[Any]) -> type[Any]:
    for name in dir(cls):
        method = getattr(cls, name)
        if hasattr(method, "__wrapped__") and inspect.iscoroutinefunction(inspect.unwrap(method)):
            setattr(cls, name, looking_when_it_begins(method, methodcaller("_check_conn_validity", name), _lost))
    return cls


@_looking
class PreparedStatement(prepared_stmt.PreparedStatement):  # type: ignore[misc]
    __slots__ = ()

    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        """asyncpg's."""
        return of_its_checkout(super().cursor(*args, **kwargs))


@_looking
class Transaction(transaction.Transaction):  # type: ignore[misc]
    __slots__ = ()


class CursorFactory(cursor.CursorFactory):  # type: ignore[misc]
    __slots__ = ()

    def __aiter__(self) -> AsyncIterator[Any]:
        return of_its_checkout(super().__aiter__())  # type: ignore[no-any-return]

    def __await__(self) -> Generator[Any, None, Any]:
        return of_its_checkout((yield from super().__await__()))


@_looking
class Cursor(cursor.Cursor):  # type: ignore[misc]
    __slots__ = ()


@_looking
class CursorIterator(cursor.CursorIterator):  # type: ignore[misc]
    __slots__ = ()


_OURS = {cls.__base__: cls for cls in (PreparedStatement, Transaction, CursorFactory, Cursor, CursorIterator)}


def of_its_checkout(made: Any) -> Any:
    """The same, as one of ours."""
    made.__class__ = _OURS[type(made)]
    return made
