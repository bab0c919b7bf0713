"""A pool that holds what it holds by a lease, when that ends; whatever the kind."""

import logging
from collections.abc import Callable
from time import monotonic
from typing import Any

import pytest
import sqlalchemy

from poolmgr.exceptions import PoolExhausted
from poolmgr.pools.allowance import Allowance
from poolmgr.pools.desired import Desired
from poolmgr.targets.sqlalchemy.engines import create_engine
from poolmgr.targets.sqlalchemy.kind import SQLALCHEMY
from poolsite.demo.servers import EmbeddedPostgres
from tests.kinds.conftest import ONE_ON_EACH_CORE
from tests.kinds.subjects import Subject, in_thread
from tests.waiting import until

Ask = Callable[[Subject], list[Any]]

#: Seconds after which the lease lapses and ends, and after which the server is heard of.
LAPSES, ENDS, ANSWERS = 0.3, 2.5, 3.5


@pytest.mark.long
@pytest.mark.parametrize("subject", ONE_ON_EACH_CORE, indirect=True)
def test_connect_that_is_under_way_when_the_lease_ends_comes_to_nothing(subject: Subject, ask: Ask) -> None:  # P6
    subject.proxy.delay = ANSWERS  # as a host that is slow to answer
    subject.open(subject.through_proxy, max_size=2, budget=5, connection_timeout=ANSWERS * 3)
    began = monotonic()
    subject.pool.limit(Allowance(2, began + LAPSES, began + ENDS))
    waiting = ask(subject)
    until(lambda: subject.proxy.accepted)
    until(lambda: subject.pool.snapshot().create_errors == 1)
    assert monotonic() < began + ANSWERS
    until(lambda: not subject.proxy.carried)
    until(lambda: not subject.ends())
    assert (subject.proxy.accepted, subject.pool.load().held) == (1, 0)
    subject.proxy.delay = 0.0
    subject.pool.limit(Allowance(2))
    until(lambda: waiting)
    subject.use(waiting[0])
    in_thread(lambda: subject.give_back(waiting[0]))
    assert subject.pool.snapshot().idle == 1


def test_lease_that_is_over_serves_nobody_even_before_anything_looked_at_the_clock(subject: Subject) -> None:  # P6
    subject.open(max_size=2, budget=5)
    subject.give_all_back(subject.hold(2))
    subject.change(connection_timeout=0.2)
    # As in a process that was frozen: no thread of the pool's has run since.
    for each in subject.members():
        each.allow(Allowance(2, monotonic() - 1, monotonic() + 9))
    with pytest.raises(PoolExhausted):
        subject.borrow()
    until(lambda: not subject.ends())


@pytest.mark.parametrize("subject", ["postgresql", "redis", "sqlalchemy"], indirect=True)  # tasks of a loop take turns
def test_who_comes_second_to_a_lease_that_is_over_is_served_no_more_than_who_came_first(subject: Subject) -> None:  # P6
    subject.open(max_size=2, budget=5)
    subject.give_all_back(subject.hold(2))
    subject.change(connection_timeout=0.2)
    subject.pool.allow(Allowance(2, monotonic() - 1, monotonic() + 9))
    served: list[Any] = []

    class Second(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            # Told by whoever came first, and is about to see to it.
            if "the lease runs out" in record.getMessage():
                in_thread(lambda: served.append(_outcome(subject.borrow)))

    logging.getLogger("poolmgr.pool").addHandler(second := Second())
    try:
        with pytest.raises(PoolExhausted):
            subject.borrow()
    finally:
        logging.getLogger("poolmgr.pool").removeHandler(second)
    (second_s,) = served
    assert isinstance(second_s, PoolExhausted)
    until(lambda: not subject.ends())


def _outcome(act: Callable[[], Any]) -> Any:
    try:
        return act()
    except PoolExhausted as ex:
        return ex


def test_sqlalchemy_s_connects_are_bounded_by_the_profile_unless_the_site_says_otherwise(
    postgres: EmbeddedPostgres,
) -> None:  # P8
    url = str(postgres.create_database("kinds")).replace("postgresql://", "postgresql+psycopg://")
    for own, first, second in (("", 4, 7), ("?connect_timeout=9", "9", "9")):
        engine, seen = create_engine("", url + own, pool={"connection_timeout": 4.5}), []
        sqlalchemy.event.listen(engine, "do_connect", lambda *args, seen=seen: seen.append(args[-1]["connect_timeout"]))
        pool = engine.pool.managed
        engine.raw_connection().close()
        pool.apply(Desired(SQLALCHEMY.make_spec({**pool.spec.to_dict(), "connection_timeout": 7}), "profile 1", 1))
        pool.recycle()
        engine.raw_connection().close()
        assert seen[0] == first
        assert {*seen[1:]} == {second}
        # What the end of a lease leaves is what counts, whoever said what.
        pool.limit(Allowance(5, monotonic() + 100, monotonic() + 3.9))
        pool.recycle()
        engine.raw_connection().close()
        assert seen[-1] == 3
        engine.dispose()
