"""Verdicts: which figures lead to which state, and that the sentence carries them."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from poolmgr.metrics.figures import Figures, Pause
from poolmgr.metrics.health import Verdict, judge, judge_server, verdict_of, worst
from poolmgr.metrics.histogram import Histogram
from poolmgr.metrics.places import Place, by_role
from poolmgr.metrics.snapshot import PoolSnapshot

NOW = 1_800_000_000.0
WELL = PoolSnapshot(target="default", max_size=10, limit=10, used=3, idle=2, connection_timeout=10.0)
PAUSED = replace(WELL, status="paused", paused_at=NOW - 130)


def of_one(pool: PoolSnapshot) -> Verdict:
    return verdict_of("web", "host:1", pool, NOW)


def place(name: str, role: str = "web", **figures: Any) -> Place:
    return Place(role, name, **{"used": 0, "idle": 0, "opening": 0, "pending": 0, "capacity": 3, **figures})


def of_many(*places: Place, **figures: Any) -> Verdict:
    return judge(Figures(roles=by_role(places), **{"connection_timeout": 10.0, **figures}))


def waits(seconds: float, count: int) -> PoolSnapshot:
    histogram = Histogram()
    for _ in range(count):
        histogram.add(seconds)
    return replace(WELL, recent_wait_time=histogram.freeze())


def test_more_than_the_budget_is_critical_whatever_else_is_well() -> None:  # P6
    pools = [place(f"host:{n}", used=1, idle=1, capacity=2) for n in range(8)]
    verdict = of_many(*pools, budget=12, held=17, floors=(8, 1))
    assert verdict.state == "critical"
    assert verdict.sentence == "17 connections are held of a budget of 12; 8 of 16 connections in use."
    assert of_many(*pools, budget=12, held=12, floors=(8, 1)).state == "ok"
    # One each, where there are more processes than that.
    assert of_many(*pools, budget=12, held=17, floors=(17, 1)).state == "warning"


def test_ok_says_the_figures() -> None:
    assert of_one(WELL) == Verdict("ok", "3 of 10 connections in use, 2 idle, nobody waits.")


@pytest.mark.parametrize(
    ("pool", "state", "said"),
    [
        (replace(WELL, recent_timeouts=4, pending=2), "critical", "4 requests got no connection in the last minute"),
        (replace(WELL, used=0, idle=0, last_error="nothing listens"), "critical", "can be opened: nothing listens."),
        (replace(WELL, last_error="the server is full."), "warning", "New connections fail: the server is full;"),
        (
            replace(WELL, used=0, idle=0, last_error="nothing listens", address="db:5432/site"),
            "critical",
            "No connection can be opened to db:5432/site: nothing listens.",
        ),
        (
            replace(WELL, last_error="the server has no connection slot left", address="db:5432/site"),
            "warning",
            "The server at db:5432/site has no connection slot left, and nobody of ours can ask it who has them; 3 of 10",
        ),
        (
            replace(WELL, last_error="the server has no connection slot left", pending=1),
            "critical",
            "The server has no connection slot left, and nobody of ours can ask it who has them; 1 request waits; 3 of 10",
        ),
        (
            replace(WELL, recent_timeouts=4, pending=2, last_error="the server does not answer"),
            "critical",
            "4 requests got no connection in the last minute; new connections fail: the server does not answer; 2 requests",
        ),
        (replace(WELL, pending=1), "warning", "1 request waits"),
        (replace(WELL, pending=1, oldest_wait=4.2), "warning", "1 request waits, the longest for 4.2 s of 10 s;"),
        (replace(WELL, pending=2, oldest_wait=6.0), "critical", "2 requests wait, the longest for 6 s of 10 s;"),
        (replace(WELL, status="closed"), "unknown", "closed"),
        (waits(4.0, 100), "warning", "fail at 10 s"),
        (waits(4.0, 3), "ok", "nobody waits"),
        (waits(0.01, 100), "ok", "nobody waits"),
    ],
)
def test_rules(pool: PoolSnapshot, state: str, said: str) -> None:
    verdict = of_one(pool)
    assert verdict.state == state
    assert said in verdict.sentence


@pytest.mark.parametrize(("seconds", "state"), [(3.0, "critical"), (40.0, "warning")])
def test_what_failed_is_told_apart_from_what_fails_now(seconds: float, state: str) -> None:
    verdict = of_one(replace(WELL, recent_timeouts=9, last_timeout_at=NOW - seconds))
    assert verdict.state == state
    assert f"9 requests got no connection{' in the last minute' * (seconds == 3)}, the last {seconds:g} s ago;" in (
        verdict.sentence
    )
    assert ("nobody waits now" in verdict.sentence) == (state == "warning")


def test_a_pause_says_since_when_who_waits_and_who_failed() -> None:
    assert of_one(PAUSED) == Verdict("warning", "Paused for 2 min; 0 requests wait for the resume.")
    waiting = replace(PAUSED, pending=3, oldest_wait=6.0)
    assert of_one(waiting) == Verdict(
        "warning", "Paused for 2 min; 3 requests wait for the resume, and the next fails in 4 s."
    )
    failed = of_one(replace(waiting, timeouts_paused=1, recent_timeouts=1))
    assert failed.state == "critical"
    assert failed.sentence.endswith("the next fails in 4 s; 1 has failed since.")
    # Who failed before it was paused did so for another reason.
    assert of_one(replace(PAUSED, recent_timeouts=3)).state == "warning"


def test_a_pause_says_by_whom() -> None:
    verdict = of_many(place("a:1"), place("a:2"), paused=1, pause=Pause(20.0, "ops@example.org"))
    assert verdict.sentence.startswith("Paused in 1 of 2 processes by ops@example.org for 20 s;")


def test_room_of_one_role_is_none_for_the_requests_of_another() -> None:
    full = {"used": 3, "pending": 4, "oldest_wait": 2.0}
    workers = [place(f"host:{n}", "celery", idle=1) for n in (7, 8)]
    verdict = of_many(place("host:1", **full), place("host:2", **full), *workers)
    assert verdict == Verdict(
        "warning", "8 requests wait, the longest for 2 s of 10 s; both web processes are full (3 of 3 each)."
    )


def test_the_full_ones_of_many_are_named_those_with_the_longest_queues_first() -> None:
    pools = [place(f"host:{n}", idle=1) for n in range(10, 90)]
    full = [place(f"host:{n}", used=3, pending=n, oldest_wait=1.0) for n in (1, 2, 3)]
    assert of_many(*pools, full[0]).sentence.endswith("; 1 of 81 web processes is full (3 of 3: host:1).")
    assert of_many(*pools, *full).sentence.endswith(
        "; 3 of 83 web processes are full (3 of 3 each: host:3, host:2, and 1 more)."
    )


def test_who_waits_comes_first_then_who_has_least_room() -> None:
    roles = by_role(
        [
            place("a:1", "beat"),
            place("a:2", "celery", used=3),
            place("a:3", "web", used=2, pending=1),
            place("a:4", "web"),
        ]
    )
    assert [role.role for role in roles] == ["web", "celery", "beat"]
    assert (roles[0].used, roles[0].capacity, roles[0].full, len(roles[1].full)) == (2, 6, (), 1)


@pytest.mark.parametrize(("processes", "said"), [(2, ""), (4, "4 processes may hold 1 connection each")])
def test_a_budget_below_the_floors_of_its_processes_is_a_warning(processes: int, said: str) -> None:  # P6
    pools = [place(f"host:{n}", idle=1, capacity=1) for n in range(processes)]
    verdict = of_many(*pools, budget=2, floors=(processes, 1))
    assert verdict.state == ("warning" if said else "ok")
    assert said in verdict.sentence


@pytest.mark.parametrize(("used", "state"), [(10, "ok"), (78, "warning"), (95, "critical"), (97, "critical")])
def test_server_fills_up(used: int, state: str) -> None:
    verdict = judge_server(used, 100, 3)
    assert verdict.state == state
    assert f"{used} of 97" in verdict.sentence


def test_not_to_know_is_worse_than_a_warning() -> None:
    found = [Verdict("ok", ""), Verdict("unknown", "?"), Verdict("warning", "")]
    assert worst(found).state == "unknown"
    assert worst([*found, Verdict("critical", "")]).state == "critical"
    assert worst([]).state == "unknown"
