"""The site's own code that fails while a connection is made: its error is told as it is, and is no fault of the server's."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy
from redis.credentials import CredentialProvider
from sqlalchemy import event, text

from poolmgr.targets.redis.pool import ManagedConnectionPool
from poolmgr.targets.sqlalchemy.pool import ManagedQueuePool
from tests.kinds.subjects import Redis
from tests.waiting import until

Make = Callable[..., Any]
SETTINGS = {"min_size": 0, "max_size": 1, "connection_timeout": 3.0}


class Stopped(BaseException):
    """As a deadline of gevent's is none of Exception's."""


@pytest.fixture
def make(postgres: Any) -> Iterator[Make]:
    """make(**arguments): an engine of its own on the server."""
    url = str(postgres.create_database("kinds")).replace("postgresql://", "postgresql+psycopg://")
    made: list[Any] = []

    def one(**arguments: Any) -> Any:
        made.append(sqlalchemy.create_engine(url, poolclass=ManagedQueuePool, settings=SETTINGS, **arguments))
        return made[-1]

    yield one
    for engine in made:
        engine.dispose()


@pytest.mark.parametrize("error", [LookupError, Stopped])
def test_error_of_a_listener_reaches_whoever_asked_at_once(make: Make, error: type[BaseException]) -> None:  # P4 P9
    engine = make()

    @event.listens_for(engine, "connect")
    def fail(connection: Any, record: Any) -> None:
        raise error("the listener's own")

    with pytest.raises(LookupError if error is LookupError else RuntimeError, match="the listener's own") as caught:
        engine.connect()
    assert "within" not in str(caught.value)
    event.remove(engine, "connect", fail)
    with engine.connect() as conn:
        assert conn.scalar(text("SELECT 1")) == 1
    seen = engine.pool.managed.snapshot()
    assert (seen.size, seen.create_errors, seen.checkout_errors, seen.timeouts) == (1, 1, 1, 0)


def test_argument_that_the_dialect_refuses_is_told_as_sqlalchemy_tells_it(make: Make) -> None:  # P9
    with pytest.raises(sqlalchemy.exc.ArgumentError, match="Invalid value 'FOO' for isolation_level"):
        make(isolation_level="FOO").connect()


def test_error_of_a_credential_provider_reaches_whoever_asked_at_once(redis_subject: Redis) -> None:  # P9
    class Vault(CredentialProvider):
        def get_credentials(self) -> Any:
            raise LookupError("no such key in the vault")

    url = redis_subject.url.replace(redis_subject.url.partition("//")[2].partition("@")[0] + "@", "")
    pool = ManagedConnectionPool.from_url(url, credential_provider=Vault(), pool=SETTINGS)
    with pytest.raises(LookupError, match="no such key in the vault"):
        pool.get_connection()
    until(lambda: not pool.managed.snapshot().opening)
    pool.close()
