"""The subjects: one pool of each kind on the run's servers."""

import shutil
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest

from poolmgr.pools import registry
from poolsite.demo.servers import EmbeddedPostgres, EmbeddedRedis
from tests import pools, servers
from tests.agents import without_agent
from tests.kinds.async_subjects import AsyncAlchemy, Asyncpg, AsyncPostgres, AsyncRedis
from tests.kinds.broker_subject import Broker
from tests.kinds.halves import Tasks, Threads
from tests.kinds.subjects import DATABASE, Alchemy, Postgres, Redis, Subject
from tests.kinds.target_subjects import (
    AlchemyTarget,
    AsyncAlchemyTarget,
    AsyncLent,
    AsyncpgTarget,
    AsyncRedisTarget,
    Lent,
    RedisTarget,
)
from tests.redis_cluster import Cluster
from tests.redis_sentinel import Watched
from tests.sampling import with_all
from tests.waiting import until

R = TypeVar("R", bound=Redis)

#: Pools of which nobody knows but who made them, and targets, which are groups, or engines on Django's connections.
ALONE: dict[str, type[Subject]] = {
    "postgresql": Postgres,
    "postgresql-asyncio": AsyncPostgres,
    "redis": Redis,
    "sqlalchemy": Alchemy,
    "asyncpg": Asyncpg,
}
#: The same on what asyncpg's stands on too, the core for event loops.
ON_THAT_CORE: dict[str, type[Subject]] = {"redis-asyncio": AsyncRedis, "sqlalchemy-asyncio": AsyncAlchemy}
TARGETS: dict[str, type[Subject]] = {
    "redis-target": RedisTarget,
    "redis-asyncio-target": AsyncRedisTarget,
    "sqlalchemy-target": AlchemyTarget,
    "sqlalchemy-asyncio-target": AsyncAlchemyTarget,
    "asyncpg-target": AsyncpgTarget,
    "sqlalchemy-lent": Lent,
    "sqlalchemy-lent-asyncio": AsyncLent,
}
SUBJECTS = {**ALONE, **ON_THAT_CORE, **TARGETS}
#: Those whose pools honour every word.
KINDS = [*ALONE, *with_all(*ON_THAT_CORE, *TARGETS)]
_EACH_CORE = ("postgresql", "redis", "asyncpg")
#: For `subject` of a test that waits for seconds: in every run one that stands on each core.
ONE_ON_EACH_CORE = [*_EACH_CORE, *with_all(*(each for each in SUBJECTS if each not in _EACH_CORE))]


@pytest.fixture(params=KINDS)
def subject(
    request: pytest.FixtureRequest, postgres: EmbeddedPostgres, redis_server: EmbeddedRedis
) -> Iterator[Subject]:
    yield from _made(request, postgres, redis_server)


@pytest.fixture(params=[*KINDS, "kombu"])
def any_subject(
    request: pytest.FixtureRequest, postgres: EmbeddedPostgres, redis_server: EmbeddedRedis
) -> Iterator[Subject]:
    """For tests of what the pool of a broker honours too."""
    yield from _made(request, postgres, redis_server)


def _made(request: pytest.FixtureRequest, postgres: EmbeddedPostgres, redis_server: EmbeddedRedis) -> Iterator[Subject]:
    if request.param in TARGETS:
        request.getfixturevalue("no_agent")
    cls = {**SUBJECTS, "kombu": Broker}[request.param]
    made: Subject
    if issubclass(cls, Redis):
        made = _alone(cls(redis_server.url(DATABASE)))
    else:
        made = cls(pools.emptied(postgres.create_database("kinds")))
    yield made
    made.close()


def _alone(made: R) -> R:
    """Once no connection of another test is left: what an interrupt has lost ends when the garbage is collected."""
    until(lambda: pools.none_is_left(made.ends), lambda: f"the end of {made.told(made.ends())}")
    return made


@pytest.fixture
def redis_subject(redis_server: EmbeddedRedis) -> Iterator[Redis]:
    made = _alone(Redis(redis_server.url(DATABASE)))
    yield made
    made.close()


@pytest.fixture(params=["threads", "tasks"])
def half(request: pytest.FixtureRequest) -> Iterator[Threads]:
    """Either half of redis-py."""
    made = Threads() if request.param == "threads" else Tasks()
    yield made
    made.close()


@pytest.fixture
def watched() -> Iterator[Watched]:
    """Servers that Sentinel watches, to be stopped and failed over by one test."""
    directory = servers.scratch_directory()
    made = Watched(directory)
    yield made
    made.stop()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    """A cluster that the tests of a module leave as it is."""
    yield from _cluster()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A cluster whose nodes one test stops and moves."""
    yield from _cluster()


def _cluster() -> Iterator[Cluster]:
    directory = servers.scratch_directory()
    made = Cluster(directory, 3)
    yield made
    made.stop()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def no_agent(settings: Any) -> Iterator[None]:
    """Settings of profiles come by the test's own hand."""
    settings.POOLMGR = {**settings.POOLMGR, "AGENT": False}
    without_agent()
    yield
    registry.set_desired({})


@pytest.fixture
def ask() -> Iterator[Callable[..., list[Any]]]:
    """ask(subject): a request that has begun to wait; what it gets, a connection or an error, comes into the list."""
    threads: list[threading.Thread] = []

    def begin(subject: Subject) -> list[Any]:
        results: list[Any] = []

        def wait() -> None:
            try:
                results.append(subject.borrow())
            except Exception as ex:
                results.append(ex)
            # Whoever ends has its connection taken from it.
            done.wait(30)

        done = threading.Event()
        ends.append(done)
        pending = subject.pool.snapshot().pending
        threads.append(threading.Thread(target=wait))
        threads[-1].start()
        until(lambda: subject.pool.snapshot().pending > pending or results, "the request to wait")
        return results

    ends: list[threading.Event] = []
    yield begin
    for event in ends:
        event.set()
    for thread in threads:
        thread.join(20)
