"""Episodes: when one begins, goes on and ends, and what is kept of it."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from poolmgr.metrics.decoding import decode, encode
from poolmgr.metrics.episodes import BLIND, ECHOES, MOST, QUIET, Episode, Sighting, Watched, step
from poolmgr.metrics.health import STATES

NOW = 1_800_000_000.0


def seen(code: str = "exhausted", state: str = "critical", target: str = "default", **more: Any) -> Sighting:
    return Sighting(target, code, state, more.pop("sentence", f"{code} is {state}"), **more)


class Looks:
    """One look after another, and the rows that would be written."""

    def __init__(self) -> None:
        self.known = Watched()
        self.rows: dict[Any, Episode] = {}

    def look(self, at: float, *found: Sighting) -> tuple[Episode, ...]:
        self.known, news = step(self.known, found, NOW + at)
        for each in news:
            self.rows[each.key] = each
        return news

    @property
    def told(self) -> list[tuple[str, float, float]]:
        """What each was, when it began, and when it ended or 0, counted from NOW."""
        return [
            (row.code, round(row.began - NOW, 3), round(row.ended - NOW, 3) if row.ended else 0.0)
            for row in sorted(self.rows.values(), key=lambda row: row.began)
        ]


def test_an_episode_has_its_begin_its_end_and_its_worst_figures() -> None:
    looks = Looks()
    looks.look(0)
    looks.look(2, seen("waiting", "warning", since=NOW + 0.5, worst={"waiting": 2, "longest_wait": 1.5}))
    looks.look(4, seen("exhausted", worst={"waiting": 9}, counts={"failed": 3}, sentence="the worst", where="web"))
    looks.look(6, seen("waiting", "warning", worst={"waiting": 1}, counts={"failed": 2}))
    assert looks.told == [("exhausted", 0.5, 0.0)]
    looks.look(8)
    (row,) = looks.rows.values()
    assert (row.began, row.ended) == (NOW + 0.5, NOW + 6)
    assert (row.code, row.state, row.sentence, row.where) == ("exhausted", "critical", "the worst", "web")
    assert row.figures == {"waiting": 9, "longest_wait": 1.5, "failed": 5}


def test_what_comes_back_within_seconds_of_its_end_goes_on() -> None:
    looks = Looks()
    for at in range(0, 60, 2):
        looks.look(at, *([seen()] if at % 12 == 0 else []))
    assert looks.told == [("exhausted", 0, 48)]
    looks.look(48 + QUIET + 1, seen())
    assert looks.told == [("exhausted", 0, 48), ("exhausted", 48 + QUIET + 1, 0)]


def test_troubles_of_targets_and_of_the_fleet_are_apart() -> None:
    looks = Looks()
    looks.look(0, seen("unreachable"), seen("paused", "warning"), seen("unreachable", target="other"), seen(target=""))
    assert len(looks.told) == 4


def test_waits_of_a_moment_are_how_a_busy_pool_looks() -> None:
    looks = Looks()
    looks.look(0, seen("waiting", "warning", since=NOW - 0.2))
    looks.look(2)
    assert looks.told == []
    looks.look(20, seen("waiting", "warning", since=NOW + 18.5))
    assert looks.told == [("waiting", 18.5, 0)]


def test_what_follows_a_moment_s_wait_has_a_begin_of_its_own() -> None:
    looks = Looks()
    looks.look(0, seen("waiting", "warning", since=NOW - 0.2))
    looks.look(2)
    looks.look(6, seen("waiting", "warning", since=NOW + 4.5))
    assert looks.told == [("waiting", 4.5, 0)]


def test_an_edit_that_spreads_is_none() -> None:
    looks = Looks()
    for at in range(0, 10, 2):
        looks.look(at, seen("not_following", "warning"))
    looks.look(10)
    assert looks.told == []


def test_what_happened_between_two_looks_ends_when_it_was_so_last() -> None:
    looks = Looks()
    looks.look(0)
    looks.look(2, seen(until=NOW + 0.7))
    # The rule tells of it for ten seconds more.
    for at in (4, 6, 8, 10):
        looks.look(at, seen(until=NOW + 0.7))
    assert looks.told == [("exhausted", 0.7, 0.7)]


def test_what_does_not_last_is_over_at_once_and_adds_up() -> None:
    looks = Looks()
    looks.look(0, seen("connections_lost", "warning", over=True, counts={"lost": 3}))
    (row,) = looks.rows.values()
    assert (row.began, row.ended) == (NOW, NOW)
    looks.look(2, seen("connections_lost", "warning", over=True, counts={"lost": 4}))
    (row,) = looks.rows.values()
    assert (row.began, row.ended, row.figures) == (NOW, NOW + 2, {"lost": 7})


def test_who_follows_as_a_leader_goes_on_with_the_episode() -> None:
    looks = Looks()
    looks.look(0, seen())
    # The next leader has it from a text, and nobody looked for a while.
    looks.known = decode(Watched, encode(looks.known))
    looks.look(12, seen())
    looks.look(14)
    assert looks.told == [("exhausted", 0, 12)]


def test_what_nobody_looked_at_for_long_ended_when_it_was_seen_last() -> None:
    looks = Looks()
    looks.look(0, seen())
    looks.look(4, seen())
    looks.look(5 + BLIND, seen())
    assert looks.told == [("exhausted", 0, 4), ("exhausted", 5 + BLIND, 0)]


def test_nothing_begins_in_the_future() -> None:  # hosts' clocks disagree
    looks = Looks()
    looks.look(0, seen(since=NOW + 500, until=NOW + 500))
    assert looks.told == [("exhausted", 0, 0)]


def test_what_is_known_is_bounded() -> None:
    looks = Looks()
    looks.look(0, *(seen(target=f"t{n}") for n in range(MOST + 50)))
    assert len(looks.known.episodes) == MOST
    looks.look(2)
    looks.look(4 + QUIET)
    assert looks.known.episodes == ()


CODES = ("exhausted", "waiting", "unreachable", "connects_fail", "paused", "not_following")
LOOK = st.tuples(
    st.floats(0.5, 90),
    st.lists(
        st.builds(
            seen,
            st.sampled_from(CODES),
            st.sampled_from(STATES[1:]),
            st.sampled_from(["a", "b", ""]),
            counts=st.fixed_dictionaries({"failed": st.integers(0, 5)}),
            worst=st.fixed_dictionaries({"waiting": st.integers(0, 5)}),
            over=st.booleans(),
        ),
        max_size=4,
    ),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(LOOK, max_size=25))
def test_whatever_is_seen_episodes_of_one_trouble_neither_overlap_nor_touch(
    history: list[tuple[float, list[Sighting]]],
) -> None:
    looks, at = Looks(), 0.0
    failed = sum(each.counts["failed"] for _pause, found in history for each in found)
    everything: dict[Any, Episode] = {}
    for pause, found in history:
        at += pause
        before = dict(looks.rows)
        looks.look(at, *found)
        everything |= {each.key: each for each in looks.known.episodes}
        everything |= looks.rows
        for key, row in before.items():
            # What is told stays told, and never gets better.
            assert STATES.index(looks.rows[key].state) >= STATES.index(row.state)
            assert looks.rows[key].figures["waiting"] >= row.figures["waiting"]
    looks.look(at + QUIET + 1)
    assert all(row.ended for row in looks.rows.values())
    assert looks.known.episodes == ()
    for row in looks.rows.values():
        assert row.began <= row.ended == row.seen
        assert row.code not in ECHOES
        others = [other for other in looks.rows.values() if other is not row]
        same = [other for other in others if (other.target, other.family) == (row.target, row.family)]
        assert all(other.began > row.ended or other.ended < row.began for other in same)
    assert sum(each.figures["failed"] for each in everything.values()) == failed
