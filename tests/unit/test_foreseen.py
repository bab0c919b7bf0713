"""What is foreseen of an edit, from figures: each rule, what is not known, and what a confirmation covers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from poolmgr.control.editing.consequences import CONFIRM, INFO, REFUSE, UNKNOWN, Consequence, Foreseen
from poolmgr.control.editing.foresee import foresee
from poolmgr.control.editing.outlook import Member, Outlook, Room, Tried
from poolmgr.metrics.histogram import BOUNDS, Histogram
from poolmgr.metrics.snapshot import Holder, PoolSnapshot
from poolmgr.pools.spec import PoolSpec
from poolmgr.targets.pgbouncer.kind import PGBOUNCER
from poolmgr.targets.postgresql.kind import POSTGRESQL

OLD = PoolSpec(max_size=8)
ROOM = Room(most=100, reserved=3, others=1)


def member(role: str = "web", age: float = 3600.0, **figures: Any) -> Member:
    return Member(role, "host:1", age, PoolSnapshot("default", **{"min_size": 2, "max_size": 8, **figures}))


def outlook(*members: Member, roles: tuple[str, ...] = ("web", "worker", "command"), **given: Any) -> Outlook:
    """An edit of what ``roles`` follow; ``changes`` are the settings."""
    changes = given.pop("changes")
    old = given.pop("old", OLD)
    before = dict.fromkeys(("web", "worker", "command"), old)
    after = {role: replace(old, **changes) if role in roles else old for role in before}
    return Outlook("default", given.pop("kind", POSTGRESQL), before, after, members, **{"room": ROOM, **given})


def told(o: Outlook, code: str) -> list[tuple[str, str]]:
    return [(each.severity, each.sentence) for each in foresee(o).consequences if each.code == code]


# -- room -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "roles", "severity", "said"),
    [
        (
            {"max_size": 500},
            ("web", "worker", "command"),
            CONFIRM,
            "3 processes × 500 = 1,500 connections are more than the 96 that the server leaves free "  # noqa: RUF001
            "(100 in all, 3 reserved, 1 used by others).",
        ),
        (
            {"max_size": 500},
            ("web",),
            CONFIRM,
            "2 web processes × 500 + 1 worker process × 8 = 1,008 connections are more than the 96 that",  # noqa: RUF001
        ),
        (
            {"max_size": 12},
            ("web", "worker", "command"),
            INFO,
            "3 processes × 12 = 36 connections at most, and the server leaves 96 free",  # noqa: RUF001
        ),
        ({"max_size": 500, "budget": 60}, ("web", "worker", "command"), INFO, "The 60 connections of the budget at most"),
        ({"max_size": 500, "budget": 98}, ("web", "worker", "command"), CONFIRM, "The 98 connections of the budget are more"),
    ],
)  # fmt: skip
def test_the_sum_over_all_processes_is_held_against_the_room_at_the_server(
    changes: dict[str, Any], roles: tuple[str, ...], severity: str, said: str
) -> None:
    edit = outlook(member(), member(), member("worker"), roles=roles, changes=changes)
    [(found, sentence)] = told(edit, "room")
    assert (found, sentence[: len(said)]) == (severity, said)


def test_what_is_not_known_is_said_instead_of_a_number() -> None:
    unknown = outlook(member(), changes={"max_size": 500}, room=Room(unknown="it does not tell."))
    [(severity, sentence)] = told(unknown, "room")
    assert severity == UNKNOWN
    assert sentence.endswith("whether the server has room is unknown: it does not tell.")
    partly = outlook(changes={"max_size": 9}, unread="Redis is away.")
    assert told(partly, "following") == [
        (UNKNOWN, "How many processes follow it is not fully known: Redis is away."),
    ]


def test_a_smaller_sum_is_never_held_against_the_room_even_where_it_is_too_large() -> None:
    assert told(outlook(member(), old=replace(OLD, max_size=500), changes={"max_size": 400}), "room") == []


def test_where_no_process_lives_the_first_that_starts_counts() -> None:
    [(severity, sentence)] = told(outlook(changes={"max_size": 97}), "room")
    assert severity == CONFIRM
    assert sentence.startswith("1 process × 97 = 97 connections are")  # noqa: RUF001
    assert told(outlook(changes={"max_size": 97}), "following") == [
        (INFO, "No process follows these settings now; the next that starts will: max_size 8 → 97.")
    ]


# -- sizes and budgets ------------------------------------------------------------------------------------------------


def test_who_finds_no_room_in_a_smaller_pool_is_counted_process_by_process() -> None:
    members = (member(used=6), member(used=1, idle=7), member("worker", used=8))
    [(severity, sentence)] = told(outlook(*members, roles=("web",), changes={"max_size": 3}), "shrinking")
    assert severity == CONFIRM
    assert sentence == "web shrinks from 8 to 3 in 2 processes: 7 are in use and 0 wait; at this demand 3 would wait."
    [(severity, sentence)] = told(outlook(member(used=1, idle=7), changes={"max_size": 3}), "shrinking")
    assert (severity, sentence.rpartition(": ")[2]) == (
        INFO, "1 are in use, nobody more would wait; 5 idle connections are closed."
    )  # fmt: skip


def test_a_pool_that_does_not_follow_yet_is_not_shrunk_by_an_edit_that_raises_what_rules() -> None:
    behind = member(used=8, max_size=8)
    assert told(outlook(behind, old=replace(OLD, max_size=5), changes={"max_size": 6}), "shrinking") == []


def test_who_waits_now_is_served_by_a_larger_pool() -> None:
    grown = outlook(member(used=8, pending=9), changes={"max_size": 12})
    assert told(grown, "growing") == [(INFO, "web: of the 9 that wait now, 4 get a connection at once.")]


def test_a_larger_min_size_opens_connections() -> None:
    warm = outlook(member(idle=2), member(idle=2), changes={"min_size": 5})
    assert told(warm, "warming") == [(INFO, "web opens 6 connections at once: min_size is 5.")]


def test_a_budget_that_cannot_be_kept_or_is_too_small_for_the_demand_is_asked_about() -> None:
    crowd = tuple(member(used=2) for _ in range(4))
    [(severity, sentence)] = told(outlook(*crowd, changes={"budget": 3, "min_size": 0}), "unkept_budget")
    assert severity == CONFIRM
    assert sentence.startswith("4 processes may hold 1 connection each whatever the budget, and it is 3")
    [(severity, sentence)] = told(outlook(*crowd, changes={"budget": 5}), "short_budget")
    assert severity == CONFIRM
    assert sentence.endswith("8 are in use and 0 wait; at this demand 3 would wait.")
    assert [severity for severity, _ in told(outlook(*crowd, changes={"budget": 50}), "short_budget")] == [INFO]


# -- times ------------------------------------------------------------------------------------------------------------


def waits(*seconds: float) -> Any:
    made = Histogram()
    for each in seconds:
        made.add(each)
    return made.freeze()


def test_a_shorter_timeout_is_held_against_the_waits_of_the_last_minute() -> None:
    there = member(recent_wait_time=waits(*[0.0001] * 10, *[4.0] * 10))
    [(severity, sentence)] = told(outlook(there, changes={"connection_timeout": 2.0}), "impatient")
    assert severity == CONFIRM
    assert sentence == (
        "web: of the last minute's 20 requests 10 waited longer than 2 s, and would have failed."
    )  # fmt: skip
    [(severity, sentence)] = told(outlook(there, changes={"connection_timeout": 20.0}), "impatient")
    assert (severity, "none of the last minute's 20" in sentence) == (INFO, True)
    failed = member(recent_wait_time=waits(30.0), recent_timeouts=1)
    [(severity, sentence)] = told(outlook(failed, changes={"connection_timeout": 5.0}), "impatient")
    assert (severity, "none of the last" in sentence) == (INFO, True), "it has failed as it was"
    assert told(outlook(there, changes={"connection_timeout": 60.0}), "impatient") == []


def test_values_above_a_bound_are_counted_linearly_inside_a_bucket() -> None:
    found = waits(*[0.6] * 4, *[7.0] * 3, BOUNDS[-1] * 2)
    assert found.above(0.5) == 8
    assert found.above(0.75) == pytest.approx(6.0)
    assert found.above(5.0) == 4
    assert found.above(BOUNDS[-1]) == 1


def test_shorter_lifetimes_tell_of_how_many_connections_at_most() -> None:
    members = (member(used=2, idle=4, age=50.0), member(used=1, idle=3, age=5.0))
    [(severity, sentence)] = told(outlook(*members, changes={"max_lifetime": 20.0}), "ageing")
    assert (severity, sentence[:47]) == (INFO, "web: up to 6 of 10 connections are older than 2")
    [(severity, sentence)] = told(outlook(*members, changes={"idle_timeout": 20.0}), "idling")
    assert (severity, sentence[:52]) == (INFO, "web: up to 6 idle connections above min_size 2 are c")
    assert told(outlook(*members, changes={"idle_timeout": 0.0, "max_lifetime": 0.0}), "idling") == []


def test_a_shorter_queue_is_held_against_who_waits_now() -> None:
    [(severity, sentence)] = told(outlook(member(used=8, pending=9), changes={"max_waiting": 5}), "crowded")
    assert severity == CONFIRM
    assert sentence == "web: 9 wait now; with max_waiting 5 in each process 4 would have failed at once."


# -- modes and queries ------------------------------------------------------------------------------------------------


def test_statement_mode_names_who_is_in_a_transaction_and_what_pinned() -> None:
    holders = (Holder("t", 1.0, 1, label="GET /cart", state="in transaction"), Holder("t", 1.0, 2, state="idle"))
    there = member(holders=holders, pins={"advisory lock": 12})
    edit = outlook(
        there, changes={"pool_mode": "statement"}, is_database=True, transacts=("ATOMIC_REQUESTS is on",)
    )  # fmt: skip
    [(severity, sentence)] = told(edit, "mode")
    assert severity == CONFIRM
    assert "On this site: ATOMIC_REQUESTS is on." in sentence
    assert "1 holder is in a transaction now: GET /cart (1)." in sentence
    assert "pinned by: advisory lock 12." in sentence
    [(severity, sentence)] = told(outlook(there, changes={"pool_mode": "transaction"}), "mode")
    assert (severity, "advisory lock 12" in sentence) == (INFO, True)


@pytest.mark.parametrize(
    ("tried", "severity", "said"),
    [
        (Tried("SELECT 2"), INFO, "The validation query was tried at the server, and works."),
        (
            Tried("SELECT 2", refused="no such table"),
            REFUSE,
            "The validation query was tried, and fails: no such table.",
        ),
        (Tried("SELECT 2", unknown="Nobody there."), CONFIRM, "The validation query could not be tried: Nobody there."),
    ],
)
def test_what_came_of_trying_a_query(tried: Tried, severity: str, said: str) -> None:
    assert told(outlook(changes={"validation_query": "SELECT 2"}, tried=tried), "query") == [(severity, said)]


def test_of_a_server_that_keeps_its_own_pools_only_what_is_known_is_said() -> None:
    led = outlook(member("worker", used=9), kind=PGBOUNCER, changes={"max_size": 4})
    assert [each.severity for each in foresee(led).consequences if each.code in ("room", "shrinking")] == [UNKNOWN]


# -- confirming -------------------------------------------------------------------------------------------------------


def asked(*found: tuple[str, int]) -> Foreseen:
    return Foreseen.of(Consequence(code, CONFIRM, f"{code}.", "web", measure) for code, measure in found)


def test_a_confirmation_is_of_what_it_names_and_of_nothing_worse() -> None:
    token = asked(("room", 40), ("mode", 0)).tokens
    assert asked(("room", 40), ("mode", 0)).unconfirmed(token) == ()
    assert asked(("room", 44)).unconfirmed(token) == (), "figures are live"
    assert [each.code for each in asked(("room", 400)).unconfirmed(token)] == ["room"]
    assert [each.code for each in asked(("room", 4), ("shrinking", 1)).unconfirmed(token)] == ["shrinking"]
    for nonsense in ("", "yes", "room|web|", "|||", "room|web|-1", "room|web|99999999999999"):
        assert len(asked(("room", 40)).unconfirmed(nonsense)) == 1


def test_the_gravest_comes_first() -> None:
    edit = outlook(
        member(used=8), changes={"max_size": 3, "validation_query": "SELECT x"}, tried=Tried("", refused="no")
    )
    severities = [each.severity for each in foresee(edit).consequences]
    assert severities == sorted(severities, key=[REFUSE, CONFIRM, UNKNOWN, INFO].index)
