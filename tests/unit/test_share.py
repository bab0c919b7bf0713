"""The rule by which a budget is shared out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolmgr.control.sharing.share import Claim, Lease, share_out
from poolmgr.pools.fair import fill


def asks(*numbers: int) -> dict[str, int]:
    return {f"p{position}": number for position, number in enumerate(numbers)}


@pytest.mark.parametrize(
    ("room", "asked", "given"),
    [
        (12, asks(10, 10, 10), [4, 4, 4]),
        (12, asks(1, 10, 3), [1, 8, 3]),
        (12, asks(2, 2, 2), [2, 2, 2]),
        (11, asks(9, 9, 9), [4, 4, 3]),
        (2, asks(1, 1, 1), [1, 1, 0]),
        (0, asks(1, 1), [0, 0]),
        (5, asks(), []),
    ],
)
def test_room_is_filled_from_below(room: int, asked: dict[str, int], given: list[int]) -> None:
    assert list(dict(sorted(fill(room, asked, dict.fromkeys(asked, 0)).items())).values()) == given


def test_what_cannot_be_divided_stays_where_it_is() -> None:
    assert fill(4, {"a": 5, "b": 5, "c": 5}, {"a": 0, "b": 2, "c": 0}) == {"a": 1, "b": 2, "c": 1}


def test_demand_goes_before_what_is_kept_warm() -> None:  # P6
    warm = {"idle": Lease(0, 0, 0, 4, 8)}
    assert share_out(warm, "busy", Claim(0, 0, 8, 8, 8), may_grow=True).lease.limit == 8
    assert share_out({"busy": Lease(6, 6, 6, 6, 8)}, "idle", Claim(0, 0, 0, 4, 8), may_grow=True).lease.limit == 2


def test_who_is_told_to_shrink_counts_as_before_until_they_say_that_they_have() -> None:  # P6
    others = {"b": Lease(0, 0, 5, 0, 8)}
    told = share_out(others, "a", Claim(held=8, limit=8, want=8, warm=0, budget=8), may_grow=True)
    assert (told.lease.holds, told.lease.limit) == (8, 4)
    after = share_out({"a": told.lease}, "b", Claim(0, 0, 5, 0, 8), may_grow=True)
    assert (after.lease.limit, after.above) == (0, ())
    gone = share_out(others, "a", Claim(held=6, limit=4, want=8, warm=0, budget=8), may_grow=True)
    assert (gone.lease.holds, gone.below) == (6, ("b",))
    assert share_out({"a": gone.lease}, "b", Claim(0, 0, 5, 0, 8), may_grow=True).lease.limit == 2


def test_first_connection_may_come_out_of_the_reserve() -> None:  # P6
    full = {"a": Lease(11, 11, 20, 0, 12)}
    assert share_out(full, "a2", Claim(1, 1, 5, 0, 12), may_grow=True).lease.limit == 1
    new = share_out(full, "b", Claim(0, 0, 5, 0, 12), may_grow=True)
    assert (new.lease.limit, new.above) == (1, ("a",))


def test_least_of_the_budgets_that_processes_know_counts() -> None:  # P6
    others = {"a": Lease(4, 4, 4, 0, 6)}
    assert share_out(others, "b", Claim(0, 0, 9, 0, 20), may_grow=True).lease.limit == 2


def test_nobody_grows_while_the_ledger_is_frozen() -> None:  # P6
    assert share_out({}, "a", Claim(3, 3, 9, 0, 12), may_grow=False).lease.limit == 3
    assert share_out({}, "a", Claim(0, 0, 9, 0, 12), may_grow=False).lease.limit == 0


_number = st.integers(0, 12)


@given(
    st.lists(st.tuples(_number, _number, _number, _number), max_size=6),
    st.tuples(_number, _number, _number, _number),
    st.integers(1, 20),
)
def test_no_claim_makes_the_sum_pass_the_budget(  # P6
    others: list[tuple[int, int, int, int]], mine: tuple[int, int, int, int], budget: int
) -> None:
    leases = {
        f"p{i}": Lease(max(c, limit), limit, want, want + warm, budget)
        for i, (c, limit, want, warm) in enumerate(others)
    }
    held, limit, want, warm = mine
    before = max(held, limit)
    after = share_out(leases, "me", Claim(held, limit, want, want + warm, budget), may_grow=True).lease
    takers = sum(1 for lease in leases.values() if lease.holds or lease.want) + 1
    taken = sum(lease.holds for lease in leases.values())
    assert after.holds == before or taken + after.holds <= max(budget, takers)
    assert after.limit <= after.holds
