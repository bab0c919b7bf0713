"""A heartbeat is read as it was written, or refused with the place and the reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from poolmgr.metrics.decoding import Unreadable
from poolmgr.metrics.histogram import BOUNDS, Histogram
from poolmgr.metrics.snapshot import MAX_BEAT, Ack, Holder, PoolSnapshot, ProcessBeat
from poolmgr.pools.spec import PoolSpec


def beat() -> ProcessBeat:
    times = Histogram()
    for seconds in (0.001, 0.5, 1000.0):
        times.add(seconds)
    pool = PoolSnapshot(
        "default", settings=PoolSpec().to_dict(), holders=(Holder("Thread-1", 1.5, 4711, "SET"),), backend_pids=(4711, 4712),
        pins={"SET": 3}, wait_time=times.freeze(), recent_wait_time=times.freeze(), used=1, idle=1,
    )  # fmt: skip
    return ProcessBeat("u", "h", 1, "web", 1.0, 2.0, pools=(pool,), acks=(Ack(1, "done"),), problems=("p",))


def written(change: Callable[[dict[str, Any]], Any] = lambda data: None) -> str:
    data = json.loads(json.dumps(beat().to_dict()))
    change(data)
    return json.dumps(data)


def test_what_was_written_is_read() -> None:
    assert ProcessBeat.from_json(written()) == beat()
    assert ProcessBeat.from_json(written().encode()) == beat()


def test_what_a_newer_version_adds_is_left_out() -> None:
    def add(data: dict[str, Any]) -> None:
        data["news"] = data["pools"][0]["news"] = data["pools"][0]["wait_time"]["news"] = {"deep": [1]}

    assert ProcessBeat.from_json(written(add)) == beat()


def test_what_an_older_version_lacks_has_its_default() -> None:
    assert ProcessBeat.from_json(written(lambda data: data["pools"][0].pop("pins"))).pools[0].pins == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it is no JSON"), ("{", "it is no JSON"), ("\x00\xff", "it is no JSON"), ("[" * 100_000, "it is no JSON"),
        ("{}", "lacks at, host, pid, role, started, uid"), ("null", "is not an object"), ("[]", "is not an object"),
        ('"text"', "is not an object"), ("NaN", "it is no JSON"), ("9" * 5000, "it is no JSON"),
        (" " * (MAX_BEAT + 1), f"it has {MAX_BEAT + 1:,} bytes, and the most are {MAX_BEAT:,}"),
    ],
)  # fmt: skip
def test_what_is_no_heartbeat_is_refused(text: str, said: str) -> None:
    with pytest.raises(Unreadable) as caught:
        ProcessBeat.from_json(text)
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.update(pools=None), "pools is not a list"),
        (lambda d: d.update(pools={}), "pools is not a list"),
        (lambda d: d.update(pools=[[]]), "pools[0] is not an object"),
        (lambda d: d.update(pools=[{"target": f"t{n}"} for n in range(1001)]), "pools has 1001 items, and the most are 1000"),
        (lambda d: d.update(acks=[1]), "acks[0] is not an object"),
        (lambda d: d.update(problems=[1]), "problems[0] is not a text"),
        (lambda d: d.update(problems="not a list"), "problems is not a list"),
        (lambda d: d.update(pid="1"), "pid is not a whole number from 0 to"),
        (lambda d: d.update(pid=True), "pid is not a whole number from 0 to"),
        (lambda d: d.update(pid=-1), "pid is not a whole number from 0 to"),
        (lambda d: d.update(at=10**30), "at is not a number from 0 to"),
        (lambda d: d.update(at=1e300), "at is not a number from 0 to"),
        (lambda d: d.update(at=None), "at is not a number from 0 to"),
        (lambda d: d.update(host="h" * 10_001), "host has 10001 characters, and the most are 10000"),
        (lambda d: d.update(bounds=[*BOUNDS[:-1], 300.0]), "bounds counts times in other buckets than this version"),
        (lambda d: d["pools"][0].update(target=""), "pools[0].target is not a name of 1 to 200 characters"),
        (lambda d: d["pools"][0].update(target="t" * 201), "pools[0].target is not a name of 1 to 200 characters"),
        (lambda d: d["pools"][0].update(used=1.5), "pools[0].used is not a whole number from 0 to"),
        (lambda d: d["pools"][0].update(pins=[]), "pools[0].pins is not an object"),
        (lambda d: d["pools"][0].update(pins={"SET": "3"}), "pools[0].pins.a value is not a whole number from 0 to"),
        (lambda d: d["pools"][0].update(settings={"budget": "12"}), "pools[0].settings.budget is not a number from 0 up"),
        (lambda d: d["pools"][0].update(settings={"deep": []}), "pools[0].settings.a value is neither a text nor a number"),
        (lambda d: d["pools"][0].update(holders=[{"thread": 1}]), "pools[0].holders[0].thread is not a text"),
        (lambda d: d["pools"][0].update(backend_pids=[1, 1.5]), "pools[0].backend_pids holds something else than whole"),
        (lambda d: d["pools"][0].update(backend_pids=[10**15]), "pools[0].backend_pids holds something else than whole"),
        (lambda d: d["pools"][0].update(wait_time=[1, 2]), "pools[0].wait_time is not an object"),
        (
            lambda d: d["pools"][0]["wait_time"]["counts"].pop(),
            "pools[0].wait_time.counts has 23 buckets, where this version has 24",
        ),
        (lambda d: d["pools"][0]["wait_time"].update(total="1"), "pools[0].wait_time.total is not a number from 0 to"),
    ],
)  # fmt: skip
def test_wrong_values_are_named_by_their_place(change: Callable[[dict[str, Any]], Any], said: str) -> None:
    with pytest.raises(Unreadable) as caught:
        ProcessBeat.from_json(written(change))
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_are_none_are_refused(constant: str) -> None:
    with pytest.raises(Unreadable, match="no JSON"):
        ProcessBeat.from_json(written().replace('"at": 2.0', f'"at": {constant}'))
    with pytest.raises(Unreadable, match=r"^at is not a number"):
        ProcessBeat.from_dict({**beat().to_dict(), "at": float(constant.replace("Infinity", "inf"))})


def test_texts_that_no_page_can_hold_are_made_to_fit() -> None:
    read = ProcessBeat.from_json(written(lambda data: data.update(name="manage.py \udcff\x00")))
    assert read.name == "manage.py ?"
    read.name.encode()


def test_a_wrong_value_is_not_repeated() -> None:  # P13
    with pytest.raises(Unreadable) as caught:
        ProcessBeat.from_json(written(lambda data: data.update(pid="hunter2", role={"hunter2": 1})))
    assert "hunter2" not in str(caught.value)
