"""What a query of history may ask for, and what is said of one that can't be answered."""

from __future__ import annotations

from typing import Any

import pytest

from poolmgr.dashboard.entry.asked import BadQuery, asked

NOW = 1_790_000_000.0
TARGETS = ("cache:default", "default")


def found(**query: str) -> Any:
    return asked({key.rstrip("_"): value for key, value in query.items()}, TARGETS, NOW)


def test_without_any_word_it_is_the_last_hour_of_the_default_database() -> None:
    assert (found().target, found().begin, found().end, found().range) == ("default", NOW - 3600, NOW, "1h")


@pytest.mark.parametrize(
    ("query", "begin", "end"),
    [
        ({"range": "7d"}, NOW - 604_800, NOW),
        ({"from_": f"{NOW - 900:.0f}"}, NOW - 900, NOW),
        ({"to": f"{NOW - 900:.0f}"}, NOW - 4500, NOW - 900),
        ({"from_": "2026-09-20T12:00:00Z", "to": "2026-09-20T15:00:00 02:00"}, 1_789_905_600, 1_789_909_200),
        ({"from_": f"{NOW - 900:.0f}", "to": "2100-01-01"}, NOW - 900, NOW),
    ],
)
def test_a_stretch_of_time_is_understood(query: dict[str, str], begin: float, end: float) -> None:
    assert (found(**query).begin, found(**query).end) == (begin, end)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"target": "nobody"}, "“target” is “nobody”, but must be one of cache:default, default."),
        ({"role": "king"}, "“role” is “king”, but must be one of web, worker, command."),
        ({"range": "2h"}, "“range” is “2h”, but must be one of 15m, 1h, 6h, 1d, 7d, 30d."),
        ({"format": "xml"}, "“format” is “xml”, but must be one of csv, json."),
        ({"from_": "yesterday"}, "“from” is “yesterday”, but must be a time such as"),
        ({"to": "9" * 400}, "”, but must be a time"),
        ({"from_": "1", "to": "2"}, "a minute at least and 30 days at most"),
        ({"range": "1h", "to": "2"}, "“range” goes with neither “from” nor “to”"),
    ],
)
def test_a_bad_one_is_told_with_its_key_its_value_and_what_is_allowed(query: dict[str, str], said: str) -> None:
    with pytest.raises(BadQuery) as error:
        found(**query)
    assert said in str(error.value)
