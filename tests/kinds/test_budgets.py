"""Real processes of max_size 10 share a budget of 12 to a cache, to a declared engine, by asyncpg, or in Django's tasks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator

import pytest

from poolmgr.backends.async_postgresql.requirement import PYTHON
from poolsite.demo.servers import EmbeddedPostgres, EmbeddedRedis
from tests.faults.sharers import Fleet, PostgresWitness, RedisWitness, Sharer, Witness
from tests.sampling import first_always, first_or_all
from tests.waiting import until

BUDGET = 12
#: Of the run's Redis, the database whose clients are the fleet's.
DATABASE = 6
#: What is dear, and what of it every run tries.
NAMES = (*(["tasks"] if sys.version_info >= PYTHON else []), "redis", "sqlalchemy", "asyncpg")
KINDS = first_always(*NAMES)


@pytest.fixture(scope="module")
def control(postgres: EmbeddedPostgres) -> dict[str, str]:
    """The environment of a fleet, whose control database has its tables."""
    environment = {"CONTROL_URL": str(postgres.create_database("control")), "POOLMGR": "{}"}
    environment |= {"DJANGO_SETTINGS_MODULE": "tests.faults.programs.sharing_settings"}
    subprocess.run(
        [sys.executable, "-m", "django", "migrate", "poolmgr", "-v0"],
        env={**os.environ, **environment},
        check=True,
        timeout=60,
    )
    return environment


@pytest.fixture(params=KINDS)
def where(request: pytest.FixtureRequest, postgres: EmbeddedPostgres, redis_server: EmbeddedRedis) -> dict[str, str]:
    """What tells a process of the fleet of its target."""
    if request.param == "redis":
        return {"CACHE_URL": redis_server.url(DATABASE)}
    variables = {"tasks": "TASKS_URL", "sqlalchemy": "ENGINE_URL", "asyncpg": "VECTORS_URL"}
    return {variables[request.param]: str(postgres.create_database("shared"))}


@pytest.fixture
def witness(where: dict[str, str], postgres: EmbeddedPostgres, redis_server: EmbeddedRedis) -> Iterator[Witness]:
    witness: Witness
    if "CACHE_URL" in where:
        witness = RedisWitness(redis_server.url(), DATABASE)
    else:
        witness = PostgresWitness(postgres.url("postgres"), "shared")
    yield witness
    witness.stop()


@pytest.fixture
def make_fleet(
    where: dict[str, str], control: dict[str, str], redis_server: EmbeddedRedis
) -> Iterator[Callable[..., Fleet]]:
    made: list[Fleet] = []

    def make(**pool: object) -> Fleet:
        poolmgr = {
            "REDIS_URL": redis_server.url(),
            "NAMESPACE": f"t{uuid.uuid4().hex[:8]}",
            "HEARTBEAT_INTERVAL": 0.5,
            "POLL_INTERVAL": 1,
            "PROCESS_TTL": 4.0,
        }
        made.append(Fleet({**control, **where, "POOLMGR": json.dumps(poolmgr)}, BUDGET, **pool))
        return made[-1]

    yield make
    for fleet in made:
        fleet.stop()


def have_ended(members: list[Sharer]) -> bool:
    """All of them in good order, and no work of theirs has failed."""
    return all(member.end()["failed"] == [] for member in members)


@pytest.mark.long
def test_who_turns_hungry_beside_a_busy_holder_has_their_share_soon(  # P6
    make_fleet: Callable[..., Fleet], witness: Witness
) -> None:
    fleet = make_fleet()
    holder, other = fleet.start(2)
    other.tell(threads=0)
    holder.tell(threads=10, hold=0.05)
    until(lambda: witness.now[holder.name] == 10, "the holder to hold 10")
    other.tell(threads=10, hold=0.05)
    # How soon is measured elsewhere; here the holder lives and is busy, so that nothing but fairness gives it.
    until(lambda: witness.now[other.name] >= 5, "half of the budget", 20)
    assert witness.most <= BUDGET, witness.at_most
    # And who dies then leaves all of it to the other, once the lease is over.
    holder.tell(hold=60)
    holder.kill()
    until(lambda: witness.now[other.name] == 10, "the other to hold 10", 20)
    assert witness.most <= BUDGET, witness.at_most
    assert have_ended([other])


@pytest.mark.long
@pytest.mark.parametrize("where", first_or_all(*NAMES), indirect=True)
def test_processes_that_start_together_share_evenly(make_fleet: Callable[..., Fleet], witness: Witness) -> None:  # P6
    fleet = make_fleet()
    members = fleet.start(8)
    for member in members:
        member.tell(threads=10)

    def one_or_two_each() -> bool:
        return all(witness.now[member.name] in (1, 2) for member in members)

    until(one_or_two_each, "everybody to hold 1 or 2", 20)
    witness.watch(3)
    assert witness.most <= BUDGET, witness.at_most
    assert one_or_two_each()
    assert have_ended(members)


@pytest.mark.long
def test_process_that_was_frozen_gives_back_before_it_serves(  # P6
    make_fleet: Callable[..., Fleet], witness: Witness
) -> None:
    fleet = make_fleet()
    sleeper, other = fleet.start(2)
    sleeper.tell(threads=10)
    until(lambda: witness.now[sleeper.name] == 10, "the sleeper to hold 10")
    sleeper.tell(threads=0)
    witness.watch(0.3)
    sleeper.freeze()
    other.tell(threads=10)
    until(lambda: witness.now[other.name] == 10, "the other to have the room", 20)
    sleeper.thaw()
    until(lambda: witness.now.total() <= BUDGET, "the sleeper to give back", 10)
    sleeper.tell(threads=10)
    until(lambda: witness.now[sleeper.name] >= 5, "the sleeper to have its share again", 20)
    assert have_ended([sleeper, other])
