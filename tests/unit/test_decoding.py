"""A heartbeat is read as it was written, or refused with the place and the reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from poolmgr.metrics.decoding import Unreadable
from poolmgr.metrics.histogram import BUCKETS, Histogram
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
    data = json.loads(beat().to_json())
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
        ("", "it is no JSON"), ("{", "it is no JSON"), ("\x00\xff", "it is no JSON"), ("[" * 100_000, "expected `object`, got `array`"),
        ("{}", "object missing required field `uid`"), ("null", "expected `object`, got `null`"),
        ("[]", "expected `object`, got `array`"), ('"text"', "expected `object`, got `str`"), ("NaN", "it is no JSON"), ("9" * 5000, "number out of range"),
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
        (lambda d: d.update(pools=None), "pools: expected `array`, got `null`"),
        (lambda d: d.update(pools={}), "pools: expected `array`, got `object`"),
        (lambda d: d.update(pools=[[]]), "pools[0]: expected `object`, got `array`"),
        (lambda d: d.update(pools=[{"target": f"t{n}"} for n in range(1001)]), "pools: expected `array` of length <= 1000"),
        (lambda d: d.update(acks=[1]), "acks[0]: expected `object`, got `int`"),
        (lambda d: d.update(problems=[1]), "problems[0]: expected `str`, got `int`"),
        (lambda d: d.update(problems="not a list"), "problems: expected `array`, got `str`"),
        (lambda d: d.update(pid="1"), "pid: expected `int`, got `str`"),
        (lambda d: d.update(pid=True), "pid: expected `int`, got `bool`"),
        (lambda d: d.update(pid=-1), "pid: expected `int` >= 0"),
        (lambda d: d.update(at=10**30), "at: expected `float` <= "),
        (lambda d: d.update(at=1e300), "at: expected `float` <= "),
        (lambda d: d.update(at=None), "at: expected `float`, got `null`"),
        (lambda d: d.update(host="h" * 10_001), "host: expected `str` of length <= 10000"),
        (lambda d: d.update(buckets=BUCKETS + 1), "it counts times in other buckets than this version"),
        (lambda d: d["pools"][0].update(target=""), "pools[0].target: expected `str` of length >= 1"),
        (lambda d: d["pools"][0].update(target="t" * 201), "pools[0].target: expected `str` of length <= 200"),
        (lambda d: d["pools"][0].update(used=1.5), "pools[0].used: expected `int`, got `float`"),
        (lambda d: d["pools"][0].update(pins=[]), "pools[0].pins: expected `object`, got `array`"),
        (lambda d: d["pools"][0].update(pins={"SET": "3"}), "pools[0].pins[...]: expected `int`, got `str`"),
        (lambda d: d["pools"][0].update(settings={"deep": []}), "pools[0].settings[...]: expected"),
        (lambda d: d["pools"][0].update(holders=[{"thread": 1}]), "pools[0].holders[0].thread: expected `str`, got `int`"),
        (lambda d: d["pools"][0].update(backend_pids=[1, 1.5]), "pools[0].backend_pids[1]: expected `int`, got `float`"),
        (lambda d: d["pools"][0].update(backend_pids=[10**15]), "pools[0].backend_pids[0]: expected `int` <= "),
        (lambda d: d["pools"][0].update(wait_time=[1, 2]), "pools[0].wait_time: expected `object`, got `array`"),
        (
            lambda d: d["pools"][0]["wait_time"]["counts"].pop(),
            "pools[0].wait_time.counts: expected `array` of length >= 24",
        ),
        (lambda d: d["pools"][0]["wait_time"].update(total="1"), "pools[0].wait_time.total: expected `float`, got `str`"),
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


@pytest.mark.parametrize("value", ["12", True, -1])
def test_a_setting_that_is_no_number_counts_as_the_usual_one(value: Any) -> None:
    read = ProcessBeat.from_json(written(lambda data: data["pools"][0].update(settings={"budget": value})))
    assert read.pools[0].number("budget", 7.0) == 7.0


def test_texts_that_no_page_can_hold_are_made_to_fit() -> None:
    odd = replace(beat(), name="manage.py \udcff\x00", pools=(replace(beat().pools[0], last_error="x\x00y"),))
    read = ProcessBeat.from_json(odd.to_json())
    assert (read.name, read.pools[0].last_error) == ("manage.py ?", "xy")
    # As another program may write it.
    assert ProcessBeat.from_json(written(lambda data: data.update(name="a\x00b\\u0000c"))).name == "ab\\u0000c"


def test_what_has_its_default_is_not_written() -> None:
    assert b"reclaimed" not in beat().to_json()
    assert beat().to_dict()["pools"][0]["reclaimed"] == 0


def test_a_wrong_value_is_not_repeated() -> None:  # P13
    with pytest.raises(Unreadable) as caught:
        ProcessBeat.from_json(written(lambda data: data.update(pid="hunter2", role={"hunter2": 1})))
    assert "hunter2" not in str(caught.value)
