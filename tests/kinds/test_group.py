"""Several pools of one target in a process: one to whoever manages them."""

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import redis

from poolmgr.exceptions import ConfigurationError, PoolClosed, PoolExhausted, PoolPaused, TooManyWaiting
from poolmgr.pools import registry
from poolmgr.pools.allowance import Allowance
from poolmgr.pools.core.pool import CorePool
from poolmgr.pools.desired import Desired
from poolmgr.pools.groups.group import Group, join
from poolmgr.targets.redis.driver import RedisDriver
from poolmgr.targets.redis.kind import REDIS
from poolmgr.targets.redis.pool import ManagedConnectionPool
from tests.forking import in_child
from tests.kinds.subjects import Redis
from tests.threads import under_load
from tests.waiting import until

TARGET = "test:group"


class Members:
    """The group of TARGET, whose members are real pools to the subject's server."""

    def __init__(self, subject: Redis, **settings: Any) -> None:
        self.subject = subject
        self.bootstrap = REDIS.make_spec({"min_size": 0, "connection_timeout": 5.0, **settings})
        self.threads: list[threading.Thread] = []
        self.fronts: list[ManagedConnectionPool] = []

    def join(self, key: object) -> CorePool:
        made = join(TARGET, key, self._make, REDIS.name, self.bootstrap)
        assert isinstance(made, CorePool)
        return made

    def _make(self) -> CorePool:
        front = ManagedConnectionPool.from_url(self.subject.url, pool={})
        self.fronts.append(front)
        return CorePool(REDIS.name, TARGET, self.bootstrap, RedisDriver(front.make_connection), front.address)

    @property
    def group(self) -> Group:
        found = registry.get(TARGET)
        assert isinstance(found, Group)
        return found

    def change(self, **settings: Any) -> None:
        spec = REDIS.make_spec({**self.group.spec.to_dict(), **settings})
        registry.set_desired({TARGET: Desired(spec, "profile 1", self.group.desired.revision + 1)})

    def ask(self, member: CorePool, timeout: float = 10.0) -> list[Any]:
        """A request that has begun to wait; what it gets comes into the list."""
        results: list[Any] = []
        done = threading.Event()

        def wait() -> None:
            try:
                results.append(member.checkout(timeout))
            except Exception as ex:
                results.append(ex)
            done.wait(30)

        self.ends.append(done)
        pending = member.load().pending
        self.threads.append(threading.Thread(target=wait))
        self.threads[-1].start()
        until(lambda: member.load().pending > pending or results, "the request to wait")
        return results

    ends: list[threading.Event]

    def close(self) -> None:
        for event in self.ends:
            event.set()
        for thread in self.threads:
            thread.join(20)
        registry.close(TARGET)
        registry.set_desired({})
        until(lambda: not self.subject.ends(), "every connection to go")


Make = Callable[..., Members]


@pytest.fixture(autouse=True)
def no_agent(settings: Any) -> None:
    settings.POOLMGR = {**settings.POOLMGR, "AGENT": False}


@pytest.fixture
def members(redis_subject: Redis) -> Iterator[Make]:
    """members(max_size=10, …): a group, empty yet."""
    made: list[Members] = []

    def one(**settings: Any) -> Members:
        made.append(Members(redis_subject, **settings))
        made[-1].ends = []
        return made[-1]

    yield one
    for each in made:
        each.close()


def hold(member: CorePool, number: int) -> list[Any]:
    return [member.checkout() for _ in range(number)]


def give_back(held: list[Any]) -> None:
    for slot in held:
        slot.pool.give_back(slot)


def test_members_are_one_pool_to_the_registry_and_each_key_has_one(members: Make) -> None:
    made = members(max_size=4)
    one, other = made.join("a"), made.join("b")
    assert made.join("a") is one
    assert one is not other
    assert [pool for pool in registry.pools() if pool.target == TARGET] == [made.group]
    assert made.group.members == {"a": one, "b": other}


def test_a_target_with_a_pool_that_is_no_group_is_refused(members: Make, redis_subject: Redis) -> None:
    made = members()
    alone = made._make()
    registry.get_or_make(TARGET, lambda: alone)
    with pytest.raises(ConfigurationError, match="has another pool in this process"):
        made.join("a")


def test_all_together_never_hold_more_than_max_size(members: Make, redis_subject: Redis) -> None:  # P6
    made = members(max_size=4)
    one, other = made.join("a"), made.join("b")
    held = [*hold(one, 2), *hold(other, 2)]
    waiting = [made.ask(one), made.ask(other)]
    assert len(redis_subject.ends()) == 4
    assert made.group.load() == (4, 4, 2)
    give_back(held)
    until(lambda: all(waiting))
    assert len(redis_subject.ends()) <= 4
    give_back([each[0] for each in waiting])


def test_who_waits_calls_in_what_others_have_idle(members: Make, redis_subject: Redis) -> None:  # P6
    made = members(max_size=4)
    one, other = made.join("a"), made.join("b")
    give_back(hold(one, 3))
    assert len(redis_subject.ends()) == 3
    held = hold(other, 3)
    assert made.group.load().held <= 4
    # All of it but what each may keep for its first request.
    assert len(redis_subject.ends()) <= 4
    give_back(held)
    give_back(hold(one, 3))
    assert made.group.snapshot().timeouts == 0


def test_used_room_is_called_in_for_who_is_below_an_even_share(members: Make, redis_subject: Redis) -> None:  # P6
    made = members(max_size=4)
    one, other = made.join("a"), made.join("b")
    held = hold(one, 3)
    first = hold(other, 1)
    waiting = made.ask(other)
    assert not waiting
    give_back(held[:1])
    until(lambda: waiting, "the second to be served by what the first gave back")
    assert len(redis_subject.ends()) == 4
    give_back([*held[1:], *first, waiting[0]])


def test_a_member_that_comes_late_has_room_for_its_first_request(members: Make) -> None:
    made = members(max_size=3)
    one = made.join("a")
    held = hold(one, 3)
    other = made.join("b")
    waiting = made.ask(other)
    give_back(held[:1])
    until(lambda: waiting)
    give_back([*held[1:], waiting[0]])


def test_what_a_member_must_still_give_back_counts(members: Make, redis_subject: Redis) -> None:  # P6
    made = members(max_size=4)
    one, other = made.join("a"), made.join("b")
    held = hold(one, 3)
    made.change(max_size=2)
    assert made.group.load().held == 3
    waiting = made.ask(other)
    give_back(held[:1])
    until(lambda: len(redis_subject.ends()) == 2)
    assert not waiting
    give_back(held[1:2])
    until(lambda: waiting)
    until(lambda: len(redis_subject.ends()) == 2)
    give_back([held[2], waiting[0]])


def test_a_higher_max_size_serves_who_waits_in_any_member(members: Make) -> None:  # P5
    made = members(max_size=2)
    one, other = made.join("a"), made.join("b")
    held = [*hold(one, 1), *hold(other, 1)]
    waiting = [made.ask(one), made.ask(other)]
    made.change(max_size=4)
    until(lambda: all(waiting))
    give_back([*held, *(each[0] for each in waiting)])


def test_lease_is_of_all_together_and_its_end_breaks_off_what_is_used_in_any(members: Make) -> None:  # P6
    made = members(max_size=6)
    one, other = made.join("a"), made.join("b")
    held = [*hold(one, 2), *hold(other, 2)]
    made.group.limit(Allowance(3))
    assert made.group.is_limited
    assert made.group.snapshot().limit == 3
    assert made.group.load().held == 4
    give_back(held[:2])
    until(lambda: made.group.load().held == 3)
    made.group.limit(Allowance(0, 0.0, 0.0))
    with pytest.raises(redis.ConnectionError):
        held[2].conn.send_command("PING")
        held[2].conn.read_response()
    give_back(held[2:])
    until(lambda: made.group.load().held == 0)
    made.group.limit(None)
    give_back(hold(one, 2))


def test_min_size_is_that_of_the_target(members: Make, redis_subject: Redis) -> None:
    made = members(max_size=8, min_size=3)
    for key in "abcd":
        made.join(key)
    until(lambda: len(redis_subject.ends()) >= 3)
    made.change(min_size=5)
    until(lambda: len(redis_subject.ends()) == 5)
    assert sorted(each.least for each in (made.join(key) for key in "abcd")) == [1, 1, 1, 2]


def test_settings_pause_and_resume_reach_all_and_who_comes_later(members: Make) -> None:  # P5
    made = members(max_size=4)
    one = made.join("a")
    made.change(connection_timeout=0.1, max_lifetime=60)
    made.group.pause()
    other = made.join("b")
    assert one.paused
    assert other.paused
    assert other.spec.max_lifetime == 60
    assert made.group.snapshot().status == "paused"
    for each in (one, other):
        with pytest.raises(PoolPaused):
            each.checkout()
    waiting = [made.ask(one), made.ask(other)]
    made.group.resume()
    until(lambda: all(waiting))
    give_back([each[0] for each in waiting])


def test_recycle_replaces_the_connections_of_all(members: Make, redis_subject: Redis) -> None:
    made = members(max_size=4)
    one, other = made.join("a"), made.join("b")
    held = [*hold(one, 2), *hold(other, 2)]
    give_back(held)
    before = redis_subject.ends()
    done = made.group.recycle(10)
    assert (done.replaced, done.remaining, done.failed) == (4, 0, "")
    until(lambda: not before & redis_subject.ends())
    assert made.group.snapshot().generation == 2


def test_snapshot_is_the_sum_and_outlives_who_leaves(members: Make) -> None:
    made = members(max_size=4)
    one, other = made.join("a"), made.join("b")
    held = [*hold(one, 2), *hold(other, 1)]
    give_back(held[:1])
    seen = made.group.snapshot()
    assert (seen.kind, seen.used, seen.idle, seen.pending, seen.max_size) == ("redis", 2, 1, 0, 4)
    assert (seen.checkouts, seen.wait_time.count, seen.use_time.count, seen.created) == (3, 3, 1, 3)
    assert seen.recent_checkouts == 3
    assert len(seen.holders) == 2
    assert seen.oldest_checkout == pytest.approx(seen.holders[0].seconds)
    assert len(seen.backend_pids) == 3
    assert seen.address == one.address
    give_back(held[1:])
    made.group.leave("a")
    until(lambda: list(made.group.members) == ["b"] and made.group.snapshot().size == 1)
    after = made.group.snapshot()
    assert (after.checkouts, after.wait_time.count, after.use_time.count, after.created) == (3, 3, 3, 3)
    assert after.closed == 2


def test_who_leaves_counts_until_its_borrowers_have_given_back(members: Make, redis_subject: Redis) -> None:  # P6
    made = members(max_size=2)
    one, other = made.join("a"), made.join("b")
    held = hold(one, 1)
    first = hold(other, 1)
    made.group.leave("a")
    until(lambda: one.retired)
    with pytest.raises(PoolClosed):
        one.checkout()
    waiting = made.ask(other)
    assert made.group.load().held == 2
    give_back(held)
    until(lambda: waiting)
    assert len(redis_subject.ends()) == 2
    again = made.join("a")
    assert again is not one
    give_back([*first, waiting[0]])


def test_a_member_that_closed_itself_leaves_its_room_to_the_others(members: Make) -> None:
    made = members(max_size=2)
    one, other = made.join("a"), made.join("b")
    give_back(hold(one, 1))
    one.close()
    held = hold(other, 2)
    give_back(held)
    assert list(made.group.members) == ["b"]


def test_room_of_a_closed_group_is_the_next_one_s_as_it_comes_back(members: Make, redis_subject: Redis) -> None:  # P6
    made = members(max_size=2)
    held = hold(made.join("a"), 2)
    first = made.group
    registry.close(TARGET, 0.0)
    with pytest.raises(PoolClosed):
        first.join("a", made._make).checkout()
    other = made.join("b")
    assert made.group is not first
    waiting = made.ask(other)
    assert made.group.load() == (2, 2, 1)
    give_back(held[:1])
    until(lambda: waiting)
    assert len(redis_subject.ends()) == 2
    give_back([held[1], waiting[0]])


def test_more_members_than_room_take_turns_and_it_is_said(  # P6
    members: Make, redis_subject: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    made = members(max_size=1)
    pools = [made.join(key) for key in "abc"]
    for each in pools:
        give_back(hold(each, 1))
        assert len(redis_subject.ends()) <= 1
    sentence = f"3 pools of '{TARGET}' in this process take turns at 1, all that it may have; raise max_size"
    assert made.group.problem == sentence
    until(lambda: sentence in caplog.messages)
    held = hold(pools[0], 1)
    with pytest.raises(PoolExhausted, match="take turns at 1, all that it may have"):
        pools[1].checkout(0.1)
    give_back(held)
    made.change(max_size=3)
    assert made.group.problem == ""


def test_what_would_have_to_be_raised_is_named_right(members: Make) -> None:
    made = members(max_size=5)
    for key in "abc":
        made.join(key)
    made.group.limit(Allowance(2))
    assert made.group.problem.endswith("take turns at 2, all that it may have; raise its budget")
    made.change(max_size=2)
    assert made.group.problem.endswith("take turns at 2, all that it may have; raise max_size")
    made.group.limit(None)
    made.change(max_size=3)
    assert made.group.problem == ""


def test_nobody_starves_where_members_take_turns(members: Make) -> None:
    made = members(max_size=1)
    busy, late = made.join("a"), made.join("b")

    def work() -> None:
        with contextlib.suppress(PoolExhausted):
            give_back(hold(busy, 1))

    with under_load(*[work] * 3) as errors:
        for _ in range(2):
            give_back([late.checkout(10)])
    assert errors == []


def test_exhausted_member_tells_what_the_others_have(members: Make) -> None:  # P9
    made = members(max_size=2)
    one, other = made.join("a"), made.join("b")
    held = [*hold(one, 1), *hold(other, 1)]
    with pytest.raises(PoolExhausted, match="in all 2 pools of the target here 2 in use of 2, "):
        one.checkout(0.1)
    give_back(held)


def test_max_waiting_is_that_of_all_together(members: Make) -> None:
    made = members(max_size=2, max_waiting=2)
    one, other = made.join("a"), made.join("b")
    held = [*hold(one, 1), *hold(other, 1)]
    waiting = [made.ask(one), made.ask(other)]
    for each in (one, other):
        with pytest.raises(TooManyWaiting):
            each.checkout()
    give_back(held)
    until(lambda: all(waiting))
    give_back([each[0] for each in waiting])


def test_forked_child_has_a_group_of_its_own(members: Make, redis_subject: Redis) -> None:  # P3
    made = members(max_size=2)
    one, other = made.join("a"), made.join("b")
    held = [*hold(one, 1), *hold(other, 1)]
    ends = redis_subject.ends()

    def child() -> list[bool]:
        mine = made.join("a")
        # All of it is the child's own.
        slots = [*hold(mine, 1), *hold(made.join("b"), 1)]
        return [slot.pid in ends for slot in slots] + [mine is one, one.retired]

    assert in_child(child) == [False, False, False, True]
    assert ends <= redis_subject.ends()
    give_back(held)


def test_sum_holds_while_members_settings_and_leases_change_under_load(  # P6
    members: Make, redis_subject: Redis
) -> None:
    made = members(max_size=5, connection_timeout=10.0)
    keys = list("abc")
    for key in keys:
        made.join(key)
    most = []

    def work(rng: random.Random) -> None:
        try:
            slot = made.join(rng.choice(keys)).checkout()
        except PoolClosed:
            return  # it has just left
        slot.conn.send_command("PING")
        slot.conn.read_response()
        slot.pool.give_back(slot)

    def watch() -> None:
        # Asked in this order, the second can't be the smaller one by the group's own doing.
        most.append((len(redis_subject.ends()), made.group.load().held))

    rng = random.Random(7)
    with under_load(*(partial(work, random.Random(seed)) for seed in range(8)), watch) as errors:
        for _ in range(40):
            action = rng.randrange(4)
            if action == 0:
                made.group.leave(rng.choice(keys))
            elif action == 1:
                made.group.limit(rng.choice([None, Allowance(rng.randint(1, 5))]))
            elif action == 2:
                made.group.recycle(5)
            else:
                made.change(max_size=rng.randint(1, 5))
            time.sleep(0.05)
    assert errors == []
    assert max(ends for ends, _ in most) <= 5
    made.group.limit(None)
    made.change(max_size=5)
    until(lambda: made.group.load().used == 0)


def test_a_member_to_which_the_others_leave_nothing_says_so(members: Make) -> None:  # P9
    made = members(max_size=3)
    held = hold(made.join("a"), 3)
    with pytest.raises(
        PoolExhausted, match=f"the other pools of '{TARGET}' in this process have all 3 that it may have"
    ):
        made.join("b").checkout(0.2)
    give_back(held)
