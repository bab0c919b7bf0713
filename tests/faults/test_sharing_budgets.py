"""Real processes of max_size 10 share a budget of 12, through what happens to them, to Redis and to the control database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator

import psycopg
import pytest
from redis import Redis

from poolmgr.control.sharing.line import PLACES
from poolsite.demo.servers import EmbeddedPostgres, EmbeddedRedis
from tests import servers as running
from tests.faults.sharers import Fleet, PostgresWitness, Sharer, Witness
from tests.proxy import Proxy
from tests.sampling import first_always, first_or_all
from tests.waiting import until

pytestmark = pytest.mark.faults

BUDGET = 12
TTL = 4.0
#: With leases that last for so long nothing but a call, or one's own look, changes anything in time.
LONG_TTL = 30.0
#: Without Redis nobody can call whoever lacks room: they ask again so often, in seconds.
PAUSE = 0.25


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    directory = running.scratch_directory()
    server = running.new_postgres(directory / "sharing", max_connections=90).start()
    server.create_database("work")
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.faults.programs.sharing_settings", "POOLMGR": "{}"}
    environment |= {"CONTROL_URL": server.create_database("control"), "WORK_URL": server.url("work")}
    subprocess.run(
        [sys.executable, "-m", "django", "migrate", "poolmgr", "-v0"], env=environment, check=True, timeout=60
    )
    yield server
    server.destroy()


@pytest.fixture
def witness(server: EmbeddedPostgres) -> Iterator[Witness]:
    witness = PostgresWitness(server.url("postgres"), "work")
    yield witness
    witness.stop()


@pytest.fixture
def make_fleet(server: EmbeddedPostgres) -> Iterator[Callable[..., Fleet]]:
    made: list[Fleet] = []

    def make(
        redis: str | None,
        budget: int = BUDGET,
        ttl: float = TTL,
        control: str = "",
        shares_control: bool = False,
        **pool: object,
    ) -> Fleet:
        poolmgr = {
            "REDIS_URL": redis,
            "NAMESPACE": f"t{uuid.uuid4().hex[:8]}",
            "HEARTBEAT_INTERVAL": 0.5,
            "POLL_INTERVAL": 1,
            "PROCESS_TTL": ttl,
        }
        if shares_control:
            poolmgr["CONTROL_DATABASE"] = "work"
        work = server.url("control" if shares_control else "work")
        environment = {"POOLMGR": json.dumps(poolmgr), "WORK_URL": work}
        environment["CONTROL_URL"] = control or server.url("control")
        made.append(Fleet(environment, budget, **pool))
        return made[-1]

    yield make
    for fleet in made:
        fleet.stop()
    with psycopg.connect(server.url("control"), autocommit=True) as connection:
        connection.execute("TRUNCATE poolmgr_lease")
        connection.execute("UPDATE poolmgr_ledger SET total = 0, frozen_until = NULL, lacking = '{}', adopting = '{}'")


@pytest.fixture(params=first_always("with Redis", "without Redis"))
def redis(request: pytest.FixtureRequest) -> str | None:
    server: EmbeddedRedis = request.getfixturevalue("redis_server")
    return server.url() if request.param == "with Redis" else None


def one_or_two_each(witness: Witness, members: list[Sharer]) -> bool:
    """Come true soon, if not at once: who had no turn for most of a lease, on a busy machine, has closed what it had."""
    return all(witness.now[member.name] in (1, 2) for member in members)


@pytest.fixture
def takes(server: EmbeddedPostgres) -> Callable[..., None]:
    """takes(attempt, at_most=seconds, before=…): the best of a few tries; whatever else the machine does makes each longer.

    By how much is told by a control: ten connects of the test's own, right after each try, are what those who wait have to
    do in any case. They come on top of what is promised, which is how soon room changes hands.
    """

    def connects() -> None:
        for _ in range(10):
            psycopg.connect(server.url("postgres")).close()

    def check(attempt: Callable[[], None], at_most: float, before: Callable[[], None]) -> None:
        tries: list[tuple[float, float]] = []
        while not tries or (tries[-1][0] > at_most + tries[-1][1] and len(tries) < 5):
            before()
            tries.append((seconds(attempt), seconds(connects)))
        assert any(took <= at_most + control for took, control in tries), f"more than {at_most} s: {tries}"

    return check


def seconds(act: Callable[[], None]) -> float:
    began = time.monotonic()
    act()
    return time.monotonic() - began


@pytest.mark.long
@pytest.mark.parametrize("redis", first_or_all("with Redis", "without Redis"), indirect=True)
def test_processes_that_start_together_share_evenly(  # P6
    make_fleet: Callable[..., Fleet], witness: Witness, redis: str | None
) -> None:
    fleet = make_fleet(redis, ttl=LONG_TTL)
    members = fleet.start(8)
    for member in members:
        member.tell(threads=10)
    until(lambda: one_or_two_each(witness, members), "everybody to hold 1 or 2", 20)
    witness.watch(3)
    assert witness.most <= BUDGET, witness.at_most
    until(lambda: one_or_two_each(witness, members), "everybody to hold 1 or 2", 20)
    for member in members:
        assert member.end()["failed"] == []


@pytest.mark.long
@pytest.mark.parametrize("redis", first_or_all("without Redis", "with Redis"), indirect=True)
def test_processes_that_start_beside_a_holder_wait_for_room(  # P6
    make_fleet: Callable[..., Fleet], witness: Witness, redis: str | None
) -> None:
    fleet = make_fleet(redis, ttl=LONG_TTL)
    (holder,) = fleet.start(1)
    holder.tell(threads=10)
    until(lambda: witness.now[holder.name] == 10, "the holder to hold 10")
    others = fleet.start(7)
    for member in others:
        member.tell(threads=10)
    until(lambda: one_or_two_each(witness, others), "everybody to have a share", 20)
    assert witness.most <= BUDGET, witness.at_most
    assert [failure for member in fleet.members for failure in member.end()["failed"]] == []


@pytest.mark.long
def test_who_turns_hungry_beside_a_busy_holder_has_their_share_within_two_seconds(  # P6
    make_fleet: Callable[..., Fleet], witness: Witness, redis: str | None, takes: Callable[..., None]
) -> None:
    holder, other = make_fleet(redis, ttl=LONG_TTL).start(2)
    holder.tell(threads=10, hold=0.05)
    other.tell(threads=0, hold=0.05)

    def turn_hungry() -> None:
        other.tell(threads=10)
        until(lambda: witness.now[other.name] >= 5, "half of the budget", 20)

    def begin() -> None:
        other.tell(threads=0)
        until(lambda: witness.now[holder.name] == 10, "the holder to hold 10", 20)

    takes(turn_hungry, at_most=2.0, before=begin)
    assert witness.most <= BUDGET, witness.at_most


@pytest.mark.long
def test_idle_room_goes_to_whoever_wants_it_within_a_second(  # P6
    make_fleet: Callable[..., Fleet], witness: Witness, redis: str | None, takes: Callable[..., None]
) -> None:
    holder, other = make_fleet(redis, ttl=LONG_TTL).start(2)

    def want_it() -> None:
        other.tell(threads=10)
        until(lambda: witness.now[other.name] == 10, "the other to hold 10", 20)

    def begin() -> None:
        other.tell(threads=1)
        holder.tell(threads=10)
        until(lambda: witness.now[holder.name] == 10, "the holder to hold 10", 20)
        # Its connections are idle by the time that somebody wants them.
        holder.tell(threads=0)
        witness.watch(0.7)
        assert witness.now[holder.name] == 10

    takes(want_it, at_most=1.0, before=begin)
    assert witness.most <= BUDGET, witness.at_most


@pytest.mark.long
def test_room_that_turns_idle_goes_to_whoever_lacks_it_within_a_second(  # P6
    make_fleet: Callable[..., Fleet], witness: Witness, redis: str | None, takes: Callable[..., None]
) -> None:
    """What both wanted until then, so that each had its share."""
    holder, other = make_fleet(redis, ttl=LONG_TTL).start(2)

    def want_less() -> None:
        holder.tell(threads=1)
        until(lambda: witness.now[other.name] == 10, "the other to hold 10", 20)

    def begin() -> None:
        for member in (holder, other):
            member.tell(threads=10)
        until(lambda: min(witness.now[member.name] for member in (holder, other)) >= 5, "equal shares", 20)
        witness.watch(0.7)

    takes(want_less, at_most=1.0 if redis else 1.0 + PAUSE, before=begin)
    assert witness.most <= BUDGET, witness.at_most


@pytest.mark.long
def test_what_idle_processes_keep_warm_goes_to_whoever_wants_it_where_the_ledger_is_in_the_same_database(  # P6
    make_fleet: Callable[..., Fleet], server: EmbeddedPostgres, redis: str | None, takes: Callable[..., None]
) -> None:
    """As on most sites. To give up its last connection a process has to tell the ledger, over that connection."""
    witness = PostgresWitness(server.url("postgres"), "control")
    fleet = make_fleet(redis, budget=6, ttl=LONG_TTL, shares_control=True, min_size=1)
    *idle, other = fleet.start(6)

    def want_it() -> None:
        other.tell(threads=10)
        until(lambda: witness.now[other.name] >= 5, "the other to hold nearly all", 20)

    def begin() -> None:
        other.tell(threads=0)
        for member in idle:
            member.tell(threads=1)
        until(lambda: all(witness.now[member.name] for member in idle), "everybody to hold one", 20)
        for member in idle:
            member.tell(threads=0)
        witness.watch(0.7)

    try:
        # In rows either side hears of the other at its next poll, which is a second away.
        takes(want_it, at_most=1.5 if redis else 2.5, before=begin)
    finally:
        witness.stop()


@pytest.mark.long
def test_process_that_ends_leaves_its_room_where_the_ledger_is_in_the_same_database(  # P6
    make_fleet: Callable[..., Fleet], server: EmbeddedPostgres, redis: str | None
) -> None:
    (member,) = make_fleet(redis, ttl=LONG_TTL, shares_control=True, min_size=1).start(1)
    member.tell(threads=3)
    with psycopg.connect(server.url("control"), autocommit=True) as connection:
        leases = "SELECT leases FROM poolmgr_lease"
        until(lambda: connection.execute(leases).fetchall(), "the process to have a lease", 20)
        member.end()
        assert connection.execute(leases).fetchall() == []


@pytest.mark.long
def test_newcomer_need_not_wait_for_somebody_s_long_request(  # P6
    make_fleet: Callable[..., Fleet], witness: Witness, redis: str | None
) -> None:
    fleet = make_fleet(redis, budget=10, ttl=LONG_TTL)
    (holder,) = fleet.start(1)
    # Nobody else is there, and its requests hold what they get for longer than this test lasts.
    holder.tell(threads=10, hold=60)
    until(lambda: witness.now[holder.name] == 9, "the holder to hold all but the reserve", 20)
    (newcomer,) = fleet.start(1)
    newcomer.tell(threads=3)
    until(lambda: newcomer.tell()["served"], "the newcomer to be served", 20)
    until(lambda: witness.now == {holder.name: 9, newcomer.name: 1}, "the witness to see it", 5)
    assert witness.most <= 10, witness.at_most


@pytest.mark.long
@pytest.mark.parametrize("redis", first_or_all("without Redis", "with Redis"), indirect=True)
def test_what_a_closed_pool_has_out_is_of_the_budget_still(  # P6
    make_fleet: Callable[..., Fleet], witness: Witness, redis: str | None
) -> None:
    fleet = make_fleet(redis)
    holder, other = fleet.start(2)
    holder.tell(threads=10, hold=4)
    until(lambda: witness.now[holder.name] == 10, "the holder to hold 10")
    holder.tell(close=True)
    other.tell(threads=10)
    until(lambda: witness.now[other.name] >= 5, "half of the budget", 10)
    assert witness.most <= BUDGET, witness.at_most
    for member in fleet.members:
        member.tell(threads=0, hold=0.01)
        # The holder's own requests may come back for another connection before they are told to rest.
        assert [error for error in member.end()["failed"] if not error.startswith("PoolClosed")] == []


@pytest.mark.long
def test_room_of_a_process_that_died_is_free_two_seconds_after_its_lease_at_the_latest(  # P6
    make_fleet: Callable[..., Fleet], witness: Witness, redis: str | None, takes: Callable[..., None]
) -> None:
    fleet = make_fleet(redis)
    (other,) = fleet.start(1)

    def begin() -> None:
        other.tell(threads=0)
        (holder,) = fleet.start(1)
        holder.tell(threads=10)
        until(lambda: witness.now[holder.name] == 10, "the holder to hold 10", 20)
        holder.tell(hold=60)
        other.tell(threads=10)
        holder.kill()

    def have_its_room() -> None:
        until(lambda: witness.now[other.name] == 10, "the other to hold 10", 30)

    takes(have_its_room, at_most=TTL + 2, before=begin)
    assert witness.most <= BUDGET, witness.at_most


@pytest.mark.long
@pytest.mark.parametrize("redis", first_or_all("with Redis", "without Redis"), indirect=True)
def test_more_processes_than_connections_have_one_each(  # P6
    make_fleet: Callable[..., Fleet], witness: Witness, redis: str | None
) -> None:
    fleet = make_fleet(redis, budget=4)
    members = fleet.start(6)
    for member in members:
        member.tell(threads=10)
    until(lambda: all(witness.now[member.name] == 1 for member in members), "everybody to hold one", 20)
    witness.watch(2)
    assert witness.most <= len(members), witness.at_most


def hungry(fleet: Fleet, witness: Witness) -> list[Sharer]:
    members = fleet.start(6)
    for member in members:
        member.tell(threads=10)
    until(lambda: one_or_two_each(witness, members), "everybody to hold 1 or 2", 20)
    return members


def flush(redis: EmbeddedRedis) -> None:
    with Redis.from_url(redis.url()) as connection:
        connection.flushall()


def stop_and_start(redis: EmbeddedRedis) -> None:
    redis.restart()


@pytest.mark.long
@pytest.mark.parametrize("loss", [flush, stop_and_start])
def test_redis_that_loses_its_memory_gives_nobody_more(  # P6
    make_fleet: Callable[..., Fleet],
    witness: Witness,
    make_redis: Callable[[], EmbeddedRedis],
    loss: Callable[[EmbeddedRedis], None],
) -> None:
    redis = make_redis()
    fleet = make_fleet(redis.url())
    hungry(fleet, witness)
    for _ in range(3):
        loss(redis)
        witness.watch(1)
    assert witness.most <= BUDGET, witness.at_most
    assert [failure for member in fleet.members for failure in member.end()["failed"]] == []


@pytest.mark.long
def test_redis_that_goes_and_comes_back_costs_nobody_a_connection(  # P6 P11
    make_fleet: Callable[..., Fleet], witness: Witness, make_redis: Callable[[], EmbeddedRedis]
) -> None:
    redis = make_redis()
    fleet = make_fleet(redis.url())
    members = hungry(fleet, witness)
    redis.stop()
    witness.watch(TTL + 2)
    until(lambda: one_or_two_each(witness, members), "everybody to hold 1 or 2", 20)
    (newcomer,) = fleet.start(1)
    newcomer.tell(threads=10)
    until(lambda: witness.now[newcomer.name], "the newcomer to have a share", 10)
    redis.start()
    witness.watch(2)
    assert witness.most <= BUDGET, witness.at_most
    assert [failure for member in fleet.members for failure in member.end()["failed"]] == []


@pytest.mark.long
def test_process_that_is_cut_off_from_redis_alone_works_on(  # P6 P11
    make_fleet: Callable[..., Fleet], witness: Witness, make_redis: Callable[[], EmbeddedRedis]
) -> None:
    redis = make_redis()
    fleet = make_fleet(redis.url())
    proxy = Proxy(redis.port)
    try:
        poolmgr = json.loads(fleet._environment["POOLMGR"])
        through = json.dumps({**poolmgr, "REDIS_URL": f"redis://127.0.0.1:{proxy.port}/0"})
        (lonely,) = fleet.start(1, POOLMGR=through)
        members = [lonely, *fleet.start(5)]
        for member in members:
            member.tell(threads=10)
        until(lambda: one_or_two_each(witness, members), "everybody to hold 1 or 2", 20)
        proxy.freeze()
        witness.watch(TTL + 2)
        assert witness.most <= BUDGET, witness.at_most
        until(lambda: one_or_two_each(witness, members), "everybody to hold 1 or 2", 20)
    finally:
        proxy.close()


def test_process_that_is_cut_off_from_the_ledger_holds_nothing_when_its_lease_is_over(  # P6
    make_fleet: Callable[..., Fleet], witness: Witness, server: EmbeddedPostgres, redis: str | None
) -> None:
    proxy = Proxy(server.port)
    try:
        fleet = make_fleet(redis)
        through = server.url("control").replace(f":{server.port}/", f":{proxy.port}/")
        (lonely,) = fleet.start(1, CONTROL_URL=through)
        (other,) = fleet.start(1)
        # One of the lonely one's requests holds its connection for longer than the lease lasts.
        lonely.tell(threads=6, hold=60)
        until(lambda: witness.now[lonely.name] == 6, "the lonely one to hold 6")
        other.tell(threads=10)
        until(lambda: witness.now[other.name] == 5, "the other to hold what is left but for the reserve")
        proxy.freeze()
        until(lambda: witness.now[other.name] == 10, "the other to have its room", 20)
        assert witness.now[lonely.name] == 0
        assert witness.most <= BUDGET, witness.at_most
    finally:
        proxy.close()


@pytest.mark.long
def test_process_that_was_frozen_gives_back_before_it_serves(  # P6
    make_fleet: Callable[..., Fleet], witness: Witness, server: EmbeddedPostgres, redis: str | None
) -> None:
    fleet = make_fleet(redis)
    sleeper, other = fleet.start(2)
    sleeper.tell(threads=10)
    until(lambda: witness.now[sleeper.name] == 10, "the sleeper to hold 10")
    # Whoever is at work has asked for its connection already.
    until(lambda: sleeper.tell(threads=0)["busy"] == 0, "the sleeper to rest")
    witness.watch(0.3)
    sleeper.freeze()
    other.tell(threads=10)
    # What a process that stands still holds at the server nobody else can close: this is the one exception.
    until(lambda: witness.now[other.name] == 10, "the other to have the room", 20)
    assert witness.now[sleeper.name] == 10
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        look = connection.execute(
            "SELECT array_agg(pid), clock_timestamp() FROM pg_stat_activity"
            # Those to the control database have no budget: its agent may ask there for a new lease.
            " WHERE datname = 'work' AND application_name = %s",
            [sleeper.name],
        )
        (held,) = look.fetchall()
        # Its requests are there before anything of its own has looked at the clock.
        sleeper.write(threads=10)
        sleeper.thaw()
        while witness.now.total() > BUDGET:
            asked = connection.execute(
                "SELECT query FROM pg_stat_activity WHERE pid = ANY(%s) AND query_start > %s", held
            )
            assert asked.fetchall() == []
            witness.watch(0)
    until(lambda: witness.now[sleeper.name] >= 5, "the sleeper to have its share again", 20)
    assert sleeper.tell()["failed"] == []


@pytest.mark.long
@pytest.mark.parametrize("redis", first_or_all("without Redis", "with Redis"), indirect=True)
def test_who_waits_for_a_slow_ledger_holds_no_connection_and_has_their_turn_in_the_end(  # P6 P8
    make_fleet: Callable[..., Fleet], server: EmbeddedPostgres, redis: str | None
) -> None:
    """As on a machine that is short of CPU, in the database that the budget is about."""
    members = make_fleet(redis, ttl=LONG_TTL, shares_control=True).start(PLACES + 3)
    at_lock = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'control' AND wait_event_type = 'Lock'"
    superuser = {"conninfo": server.url("postgres"), "autocommit": True}
    with psycopg.connect(server.url("control")) as slow, psycopg.connect(**superuser) as look:
        slow.execute("UPDATE poolmgr_ledger SET turn = turn + 1")
        for member in members:
            member.tell(threads=10)
        most, deadline_at = 0, time.monotonic() + 2.5
        while time.monotonic() < deadline_at:
            most = max(most, look.execute(at_lock).fetchall()[0][0])
        slow.commit()
    assert most == PLACES
    until(lambda: all(member.tell()["served"] for member in members), "everybody to be served", 20)
    assert [failure for member in members for failure in member.end()["failed"]] == []


@pytest.mark.long
@pytest.mark.parametrize("redis", first_or_all("with Redis", "without Redis"), indirect=True)
def test_ledger_that_lost_its_memory_gives_nobody_more(  # P6
    make_fleet: Callable[..., Fleet], witness: Witness, server: EmbeddedPostgres, redis: str | None
) -> None:
    fleet = make_fleet(redis)
    members = hungry(fleet, witness)
    with psycopg.connect(server.url("control"), autocommit=True) as connection:
        for loss in ("poolmgr_lease",), ("poolmgr_ledger",), ("poolmgr_ledger", "poolmgr_lease"):
            with connection.transaction():
                for table in loss:
                    connection.execute(f"DELETE FROM {table}")
            (newcomer,) = fleet.start(1)
            newcomer.tell(threads=10)
            witness.watch(2)
            newcomer.kill()
    until(lambda: one_or_two_each(witness, members), "everybody to hold 1 or 2", 20)
    assert witness.most <= BUDGET, witness.at_most
