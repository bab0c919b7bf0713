"""The rule by which the pools of one target in a process share its room."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from poolmgr.pools.groups.apportioning import Standing, due, lowered, raised


@st.composite
def standings(draw: st.DrawFn) -> Standing:
    held = draw(st.integers(0, 8))
    used = draw(st.integers(0, held))
    pending = draw(st.integers(0, 8))
    recent = used + pending + draw(st.integers(0, 4))
    share, since = draw(st.integers(0, 8)), draw(st.floats(0, 9))
    return Standing(share, held, used, pending, recent, since, bool(share) and draw(st.booleans()))


def member(share: int, held: int = 0, used: int = 0, pending: int = 0, recent: int | None = None) -> Standing:
    return Standing(share, held, used, pending, used + pending if recent is None else recent)


@given(st.integers(0, 20), st.lists(standings(), max_size=6))
def test_nobody_is_given_what_another_may_still_have(room: int, members: list[Standing]) -> None:  # P6
    after = raised(room, members)
    before = sum(each.counts for each in members)
    counted = sum(max(share, each.held) for share, each in zip(after, members, strict=True))
    assert all(share >= each.share for share, each in zip(after, members, strict=True))
    assert counted <= max(room, before)


@given(st.integers(0, 20), st.lists(standings(), max_size=6))
def test_what_is_called_in_makes_the_room_that_is_due_to_who_lacks_it(room: int, members: list[Standing]) -> None:  # P6
    theirs, after = due(room, members), lowered(room, members)
    assert sum(theirs) <= room
    assert sum(after) <= max(room, 0)
    assert all(0 <= share <= each.share for share, each in zip(after, members, strict=True))
    # Nobody goes below what is theirs, unless there is too much: then nobody may open another.
    counted = sum(max(share, each.held) for share, each in zip(after, members, strict=True))
    if counted > room:
        assert all(share <= each.held for share, each in zip(after, members, strict=True))
    if sum(each.counts for each in members) <= room:
        assert all(share >= min(each.share, is_due) for share, is_due, each in zip(after, theirs, members, strict=True))
    lacking = sum(max(0, is_due - each.share) for is_due, each in zip(theirs, members, strict=True) if each.lacks)
    assert room - sum(after) >= lacking


def _after(shares: list[int], members: list[Standing]) -> list[Standing]:
    """When what was called in has gone: nobody has more than their share."""
    pairs = zip(shares, members, strict=True)
    return [replace(each, share=share, held=min(each.held, share), used=min(each.used, share)) for share, each in pairs]


@given(st.integers(1, 20), st.lists(standings(), min_size=1, max_size=6))
def test_it_comes_to_rest_when_nothing_changes(room: int, members: list[Standing]) -> None:
    def step(shares: list[int]) -> list[int]:
        return raised(room, _after(lowered(room, _after(shares, members)), members))

    shares = [each.share for each in members]
    for _ in range(12):
        shares = step(shares)
    if room >= len(members):
        assert step(shares) == shares
        assert min(shares) >= 1
    assert sum(shares) <= room


def test_room_without_a_connection_moves_before_one_is_closed() -> None:
    assert lowered(10, [member(5, held=5, recent=1), member(4, held=0), member(1, 1, 1, pending=3)]) == [5, 1, 1]


def test_idle_connections_move_when_nothing_else_is_left() -> None:
    assert lowered(10, [member(9, held=9, recent=1), member(1, 1, 1, pending=3)]) == [6, 1]


def test_what_is_used_moves_up_to_an_even_share_and_no_further() -> None:
    assert lowered(10, [member(9, 9, 9), member(1, 1, 1, pending=8)]) == [5, 1]
    assert raised(10, [member(5, 5, 5), member(1, 1, 1, pending=8)]) == [5, 5]


def test_a_pause_between_two_requests_costs_no_connection() -> None:
    assert lowered(10, [member(5, 5, 0, recent=5), member(5, 5, 5, pending=4)]) == [5, 5]


def test_what_comes_free_is_spread() -> None:
    assert raised(10, [member(1), member(1), member(4)]) == [3, 3, 4]


def test_members_beyond_the_room_take_turns() -> None:
    waiting, serving = member(0, pending=1), member(1, 1, 1)
    served = replace(serving, is_served=True)
    assert lowered(1, [serving, waiting]) == [1, 0]
    assert lowered(1, [served, waiting]) == [0, 0]
    # Who has just had a turn comes after who has gone without for longer.
    assert raised(1, [replace(waiting, since=5.0), replace(waiting, since=4.0)]) == [0, 1]
