"""What another library of the same process asks of a pool whose connections it borrows as the driver made them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol
from weakref import ref

from poolmgr.pools.spec import PoolSpec


class Lender(Protocol):
    """A pool that lends its driver's own connections, as PostgreSQL's does; ``retired`` when it is closed for good."""

    target: str
    spec: PoolSpec
    retired: bool

    def checkout(self, timeout: float | None = None) -> Any:
        """A live connection in autocommit mode. Raises a ``CheckoutError``."""

    def put_back(self, conn: Any) -> None:
        """Take it back, in whatever state. For who knows that it is theirs still, whichever thread they run in."""

    def greet(self, conn: Any, hook: Callable[[], object]) -> bool:
        """Have ``hook`` prepare a connection that is checked out for the library.

        Handlers that it adds stay with the connection. What else it sets is wiped when the connection comes back: then the
        result is true, and it must be greeted again at its next checkout.
        """

    def read(self, conn: Any, work: Callable[[], object]) -> None:
        """Have ``work`` ask the server, which only reads, whatever it asks with."""


class TaskLender(Protocol):
    """The same for tasks, of whichever event loop: it lends the driver's connections for asyncio."""

    @property
    def spec(self) -> PoolSpec: ...

    async def checkout(self, timeout: float | None = None) -> TaskLoan:
        """A live connection in autocommit mode. Raises a ``CheckoutError``."""

    def at_once(self) -> TaskLoan | None:
        """The same without waiting for anything, if that is possible."""

    def give_back(self, conn: Any) -> None:
        """Take it back, in whatever state, without waiting. Idempotent."""


class Greeting(NamedTuple):
    """What a library has prepared on the driver's side of a session: how values are read, and who is told of notices.

    ``lasts`` is whether that is all: what else it sets ends with the loan, and the session must be greeted again.
    """

    adapters: Any = None
    notices: tuple[Any, ...] = ()
    notifications: tuple[Any, ...] = ()
    lasts: bool = False


class TaskLoan(Protocol):
    """A connection in the hands of a task; it knows its ``lender``. ``session`` leads to what each loan of it is over."""

    lender: TaskLender
    session: ref[Any]

    def begin_loan(self, greeting: Greeting, is_kept_by: Callable[[Any], bool]) -> None:
        """Have it begin transactions by itself, and be as ``greeting`` has it; without adapters, as the driver has them.

        Once its task has ended, ``is_kept_by`` says of an object that refers to it whether somebody may go on with it.
        """

    def greet(self, hook: Callable[[], object]) -> Greeting:
        """Have ``hook`` prepare it for the library; what a later loan of the same session may begin with instead."""

    def read(self, work: Callable[[], object]) -> None:
        """Have ``work`` ask the server, which only reads, whatever it asks with."""

    def end(self) -> None:
        """Close the connection itself, without waiting."""
