"""Who has died without a word, and who has only gone to the other store."""

from __future__ import annotations

from typing import Any

from poolmgr.control.reporting.fleet import Fleet
from poolmgr.control.reporting.troubles import Trouble
from poolmgr.control.watching.deaths import Deaths
from poolmgr.metrics.episodes import Sighting
from poolmgr.metrics.snapshot import ProcessBeat

NOW = 1_800_000_000.0


def fleet(*silent: str) -> Fleet:
    values: dict[str, Any] = {"host": "jobs1", "pid": 8, "role": "worker", "started": NOW - 60, "at": NOW - 9}
    beats = tuple(ProcessBeat(uid=uid, **values) for uid in ("one", "two"))
    told = (Trouble("No heartbeat.", ("jobs1:8",), "silent", uids=silent),) if silent else ()
    return Fleet(beats, (), "redis", "", NOW, troubles=told)


def told(deaths: Deaths, live: set[str]) -> list[Sighting]:
    deaths.confirm(live)
    return list(deaths.told())


def test_one_that_was_silent_and_beats_no_more_is_dead_and_told_once() -> None:
    deaths = Deaths()
    deaths.look(fleet("two"), {"one", "two"})
    assert not deaths.somebody_is_missing
    deaths.look(fleet(), {"one"})
    assert deaths.somebody_is_missing
    [death] = told(deaths, {"one"})
    assert (death.target, death.code, death.where, death.since, death.over) == (
        "",
        "gone",
        "worker jobs1:8",
        NOW - 9,
        True,
    )
    deaths.look(fleet(), {"one"})
    assert told(deaths, {"one"}) == []


def test_one_that_beats_in_the_other_store_or_said_goodbye_is_not() -> None:
    deaths = Deaths()
    deaths.look(fleet("two"), {"one", "two"})
    deaths.look(fleet(), {"one"})
    assert told(deaths, {"one", "two"}) == []
    deaths.look(fleet(), {"one", "two"})
    deaths.look(fleet(), {"one"})
    assert not deaths.somebody_is_missing


def test_one_that_nobody_has_seen_silent_is_known_by_its_name() -> None:
    deaths = Deaths()
    deaths.swept(["jobs1-812-3f0c9a7b"])
    [death] = told(deaths, set())
    assert (death.where, death.since) == ("process jobs1:812", 0.0)
    assert death.sentence == (
        "process jobs1:812 ended without a word: killed, or out of memory. What it had under way has failed."
    )
