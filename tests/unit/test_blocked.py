"""The tree of who waits for whom: whoever is in the way of all is its root, whatever else is in the way."""

from __future__ import annotations

from msgspec.structs import replace

from poolmgr.metrics.blocking import Group, Session, at_work, blocked, called, tree
from poolmgr.metrics.seen import Seen, Stranger, counted, slots


def told(*sessions: Session) -> list[tuple[int, int, tuple[int, ...], int]]:
    return [(each.session.pid, each.depth, each.blocks, each.others) for each in tree(sessions)]


def test_who_waits_for_several_stands_below_the_one_that_waits_for_nobody() -> None:
    root, queued = Session(1), Session(2, waits=9, blocked_by=(1,))
    assert told(Session(3, waits=3, blocked_by=(1, 2)), queued, root) == [
        (1, 0, (2, 3), 0),
        (2, 1, (), 0),
        (3, 1, (), 1),
    ]
    # One that only stands behind somebody who waits is below them.
    assert told(Session(3, waits=3, blocked_by=(2,)), queued, root) == [
        (1, 0, (2, 3), 0),
        (2, 1, (3,), 0),
        (3, 2, (), 0),
    ]


def test_the_root_that_blocks_most_comes_first_and_who_has_gone_is_left_out() -> None:
    few, many = Session(1), Session(7)
    waiting = [Session(pid, waits=pid, blocked_by=(7,)) for pid in (8, 9)]
    assert [each[0] for each in told(few, Session(2, waits=1, blocked_by=(1,)), many, *waiting)] == [7, 9, 8, 1, 2]
    assert told(Session(3, waits=1, blocked_by=(99,))) == []


def test_a_deadlock_that_the_server_has_not_ended_yet_has_an_end_here() -> None:
    ring = [
        Session(1, waits=1, blocked_by=(3,)),
        Session(2, waits=1, blocked_by=(1,)),
        Session(3, waits=1, blocked_by=(2,)),
    ]
    assert [(pid, depth) for pid, depth, _, _ in told(*ring)] == [(1, 0), (2, 1), (3, 2)]


def test_the_sentence_names_who_is_in_the_way_of_most_of_ours() -> None:
    bob = Session(1, name="psql", user="bob", address="10.0.0.7", state="in transaction", seconds=125)
    vacuum = Session(5, "server", name="autovacuum worker")
    waiting = [Session(pid, waits=2, blocked_by=(1,)) for pid in (2, 3, 4)]
    late, just = Session(6, waits=2, blocked_by=(5,)), Session(7, waits=0.5, blocked_by=(1,))
    found = blocked([bob, vacuum, *waiting, late, just], {2, 3, 6, 7}, {})
    assert found is not None
    assert found.pids == (2, 3, 6)
    assert found.sentence == (
        "3 holders wait for a lock of psql, user bob from 10.0.0.7, idle in transaction for 2 min and 1 more"
    )
    assert blocked([bob, *waiting], {1, 99}, {}) is None
    assert blocked([bob, just], {7}, {}) is None
    ours = blocked([bob, *waiting], {2}, {1: "GET /search/ in web h:1"})
    assert ours is not None
    assert ours.sentence == "1 holder waits for a lock of GET /search/ in web h:1, idle in transaction for 2 min"


def test_what_has_no_session_or_no_name_is_called_by_what_is_known() -> None:
    assert called(Session(0, "prepared", name="order 7")) == "the prepared transaction order 7"
    assert at_work(Session(0, "prepared", seconds=90)) == "prepared 1 min ago"
    assert called(Session(9, "server")) == "a process of the server's own"
    assert called(Session(9)) == "server process 9"


def test_strangers_are_those_who_are_neither_told_of_nor_new_by_a_name_of_ours() -> None:
    groups = [
        Group("batch", "bob", "10.0.0.7", (1, 2)), Group("poolmgr:web", "site", "", (3, 4, 5)), Group("", "eve", "", (6,)),
    ]  # fmt: skip
    ours, others, strangers = counted(groups, range(1, 8), {"default": {3, 99}, "reports": {7}}, young=[4])
    assert (ours, others) == ({"default": 1, "reports": 1}, 4)
    assert strangers == (
        Stranger("batch", "bob", "10.0.0.7", 2), Stranger("", "eve", "", 1), Stranger("poolmgr:web", "site", "", 1),
    )  # fmt: skip
    many = [Group(str(number), "u", "", (number,)) for number in range(50)]
    assert len(counted(many, range(50), {}, ())[2]) == 10


def test_who_has_the_slots_is_said_by_name_and_with_its_age() -> None:
    strangers = tuple(Stranger(name, "app", "", 9 - at) for at, name in enumerate(("etl", "metabase", "", "psql")))
    seen = Seen(at=1000.0, used=20, most=23, reserved=3, ours={"default": 1}, others=19, strangers=strangers)
    others = "19 by others: 9 etl (user app), 8 metabase (user app), 7 nameless (user app), 1 programs more"
    assert slots(seen, 1001.0) == f"20 of 20 are taken, 1 by us, {others}"
    assert slots(seen, 1060.0).startswith("20 of 20 were taken 1 min ago, 1 by us")
    assert slots(replace(seen, used=19), 1060.0) == ""
    assert slots(Seen(tried=1000.0, error="The server is away."), 1001.0) == ""
