"""Verdicts: which figures lead to which state, and that the sentence carries them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from poolmgr.metrics.health import Figures, Verdict, judge, judge_server, verdict_of, worst
from poolmgr.metrics.histogram import Histogram
from poolmgr.metrics.snapshot import PoolSnapshot

WELL = PoolSnapshot(target="default", max_size=10, limit=10, used=3, idle=2, connection_timeout=10.0)


def waits(seconds: float, count: int) -> PoolSnapshot:
    histogram = Histogram()
    for _ in range(count):
        histogram.add(seconds)
    return replace(WELL, recent_wait_time=histogram.freeze())


def test_more_than_the_budget_is_critical_whatever_else_is_well() -> None:  # P6
    figures = Figures(used=9, idle=8, opening=0, pending=0, capacity=17, timeouts=0, connection_timeout=30.0,
                      wait=Histogram().freeze(), pools=8, budget=12, held=17, floors=(8, 1))  # fmt: skip
    assert judge(figures).state == "critical"
    assert judge(figures).sentence == "17 connections are held of a budget of 12; 9 of 17 connections in use."
    assert judge(replace(figures, held=12)).state == "ok"
    # One each, where there are more processes than that.
    assert judge(replace(figures, pools=17, floors=(17, 1))).state == "warning"


def test_ok_says_the_figures() -> None:
    assert verdict_of(WELL) == Verdict("ok", "3 of 10 connections in use, 2 idle, nobody waits.")


@pytest.mark.parametrize(
    ("pool", "state", "said"),
    [
        (replace(WELL, recent_timeouts=1), "critical", "1 request got no connection in the last minute"),
        (replace(WELL, recent_timeouts=4, pending=2), "critical", "4 requests got no connection"),
        (replace(WELL, used=0, idle=0, last_error="nothing listens"), "critical", "can be opened: nothing listens."),
        (replace(WELL, last_error="the server is full."), "warning", "New connections fail: the server is full;"),
        (replace(WELL, pending=1), "warning", "1 request waits"),
        (replace(WELL, status="paused", pending=3), "warning", "Paused; 3 requests wait for the resume"),
        (replace(WELL, status="paused", recent_timeouts=3), "warning", "Paused"),
        (replace(WELL, status="closed"), "unknown", "closed"),
        (waits(4.0, 100), "warning", "fail at 10 s"),
        (waits(4.0, 3), "ok", "nobody waits"),
        (waits(0.01, 100), "ok", "nobody waits"),
    ],
)
def test_rules(pool: PoolSnapshot, state: str, said: str) -> None:
    verdict = verdict_of(pool)
    assert verdict.state == state
    assert said in verdict.sentence


@pytest.mark.parametrize(("processes", "said"), [(2, ""), (4, "4 processes may hold 1 connection each")])
def test_a_budget_below_the_floors_of_its_processes_is_a_warning(processes: int, said: str) -> None:  # P6
    figures = Figures(
        used=0, idle=4, opening=0, pending=0, capacity=4, timeouts=0, connection_timeout=10.0, wait=WELL.recent_wait_time,
        pools=processes, budget=2, floors=(processes, 1),
    )  # fmt: skip
    verdict = judge(figures)
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
