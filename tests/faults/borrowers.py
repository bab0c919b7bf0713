"""Four ways to borrow from a pool, told apart by what a test may expect: bare, and Django's three modes."""

import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import django.db
import psycopg
import pytest
from django.db import connections

from poolmgr.exceptions import CheckoutError
from poolmgr.pools import registry
from poolmgr.pools.desired import Desired
from poolmgr.pools.spec import make_spec
from poolmgr.targets.postgresql.managed import ManagedPool
from tests.pools import backends, change, managed_pool, parameters
from tests.waiting import until

ALIAS = "faulty"

#: What a borrower's own query raises when its server end goes; a failed checkout is a CheckoutError instead.
LOST = (psycopg.OperationalError, django.db.OperationalError)


class Borrower:
    """One pool to a server that a test breaks. ``direct`` is a URL of the same database that goes round the proxy."""

    way = "bare"

    def __init__(self, url: str, direct: str, **settings: Any) -> None:
        self.direct = direct
        self.given, self.pool = self.make(url, settings)

    def make(self, url: str, settings: dict[str, Any]) -> tuple[dict[str, Any], ManagedPool]:
        pool = managed_pool(url, **settings)
        return pool.given, pool  # type: ignore[attr-defined]

    def change(self, **settings: Any) -> None:
        """Other settings, in force from now on."""
        change(self.pool, **settings)

    def connects_to(self, **parts: Any) -> None:
        """What the site's settings say from now on: host, port, password."""
        self.given.update(parts)

    @contextmanager
    def borrowed(self) -> Iterator[Callable[[str], Any]]:
        """A connection held for the block, as a function that runs a statement on it."""
        with self.pool.connection() as conn:

            def ask(statement: str) -> Any:
                cursor = conn.execute(statement)
                return cursor.fetchone() if cursor.description else None

            yield ask

    def request(self, statement: str = "SELECT pg_backend_pid()") -> Any:
        """One request's work: borrow, ask, give back."""
        with self.borrowed() as ask:
            return ask(statement)[0]

    def end_request(self) -> None:
        """What becomes of a request that fails with anything but a database's error."""

    def close(self) -> None:
        self.pool.close()

    # -- what tests ask and expect -------------------------------------------------------------------------------------

    def warm(self, number: int) -> set[int]:
        """So many idle connections; their server processes."""
        held = [self.pool.checkout() for _ in range(number)]
        for conn in held:
            self.pool.give_back(conn)
        until(lambda: self.pool.snapshot().idle >= number, "the connections to come back")
        return set(self.pool.snapshot().backend_pids)

    def fails(
        self, kind: type[BaseException], within: float, words: str | None = None, **options: Any
    ) -> BaseException:
        """The error of a request that must fail in this way, no later than ``within`` seconds, telling no secret."""
        began = time.monotonic()
        with pytest.raises(kind, match=words) as caught:
            self.request(**options)
        took = time.monotonic() - began
        assert took <= within, f"the borrower waited {took:.2f} s instead of at most {within:g} s"
        if issubclass(kind, CheckoutError):
            assert isinstance(caught.value, django.db.OperationalError)
        told = "".join([*traceback.format_exception(caught.value), repr(caught.value), str(caught.value)])
        assert parameters(self.direct)["password"] not in told
        assert str(self.given.get("password", self.given.get("PASSWORD"))) not in told
        return caught.value

    def recovers(self, within: float = 10.0) -> None:
        """All connections serve again without help, and none is lost or left over, here or on the server."""
        deadline = time.monotonic() + within
        most = self.pool.spec.max_size
        held = []
        while len(held) < most:
            try:
                held.append(self.pool.checkout(max(0.1, deadline - time.monotonic())))
            except CheckoutError:
                if time.monotonic() > deadline:
                    raise
        try:
            assert len({conn.execute("SELECT pg_backend_pid()").fetchone()[0] for conn in held}) == most
        finally:
            for conn in held:
                self.pool.give_back(conn)
        assert self.request("SELECT 7") == 7
        self.leaks_nothing()

    def leaks_nothing(self) -> None:
        """Nothing is checked out, and the server has exactly the connections that the pool counts."""
        until(lambda: self.pool.snapshot().used == 0, "every connection to come back", 5)
        until(lambda: backends(self.direct) == set(self.pool.snapshot().backend_pids), "the server to agree", 10)
        seen = self.pool.snapshot()
        assert seen.size <= seen.max_size
        assert seen.pending == 0


class DjangoBorrower(Borrower):
    """The backend under an alias of its own, in session mode."""

    way = "session"

    def make(self, url: str, settings: dict[str, Any]) -> tuple[dict[str, Any], ManagedPool]:
        connections.settings[ALIAS] = database(url, {"pool_mode": self.way, "min_size": 0, **settings})
        pool = connections[ALIAS].managed_pool
        return connections.settings[ALIAS], pool

    def change(self, **settings: Any) -> None:
        spec = make_spec({**self.pool.spec.to_dict(), **settings})
        registry.set_desired({ALIAS: Desired(spec, "profile 1", self.pool.desired.revision + 1)})

    def connects_to(self, **parts: Any) -> None:
        self.given.update({name.upper(): value for name, value in parts.items()})

    @contextmanager
    def borrowed(self) -> Iterator[Callable[[str], Any]]:
        try:
            yield self.ask
        finally:
            connections[ALIAS].close()

    def ask(self, statement: str) -> Any:
        with connections[ALIAS].cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchone() if cursor.description else None

    def end_request(self) -> None:
        connections[ALIAS].close()

    def close(self) -> None:
        connections[ALIAS].close()
        registry.set_desired({})
        registry.close(ALIAS)
        del connections[ALIAS]
        del connections.settings[ALIAS]


class TransactionBorrower(DjangoBorrower):
    """The backend in transaction mode: the connection is held inside atomic() only."""

    way = "transaction"

    @contextmanager
    def borrowed(self) -> Iterator[Callable[[str], Any]]:
        with django.db.transaction.atomic(ALIAS):
            yield self.ask

    def request(self, statement: str = "SELECT pg_backend_pid()") -> Any:
        # No transaction and no close: whatever happens, the statement alone must give its connection back.
        return self.ask(statement)[0]


class StatementBorrower(TransactionBorrower):
    """The backend in statement mode, which allows no transaction: an open cursor alone holds the connection."""

    way = "statement"

    @contextmanager
    def borrowed(self) -> Iterator[Callable[[str], Any]]:
        with connections[ALIAS].cursor() as cursor:

            def ask(statement: str) -> Any:
                cursor.execute(statement)
                return cursor.fetchone() if cursor.description else None

            yield ask


WAYS: dict[str, type[Borrower]] = {
    each.way: each for each in (Borrower, DjangoBorrower, TransactionBorrower, StatementBorrower)
}


def database(url: str, pool: dict[str, Any]) -> dict[str, Any]:
    """An entry of ``settings.DATABASES``."""
    got = parameters(url)
    return {
        **connections.settings["default"],
        "NAME": got["dbname"],
        "USER": got["user"],
        "PASSWORD": got["password"],
        "HOST": got["host"],
        "PORT": got["port"],
        "OPTIONS": {"pool": pool},
    }
