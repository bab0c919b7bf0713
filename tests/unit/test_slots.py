"""Used connections as letters."""

from poolmgr.metrics.slots import MOST, Slot, decoded, encoded, joined


def test_letters_say_how_long_each_is_held_and_in_what_state_the_oldest_first() -> None:
    letters = encoded(
        [(0.2, "running"), (40.0, "in transaction"), (7.0, ""), (1.5, "idle"), (31.0, "failed transaction")]
    )
    assert decoded(letters) == (
        Slot(3, "in transaction"),
        Slot(3, "in transaction"),
        Slot(2, "running"),
        Slot(1, "idle"),
        Slot(0, "running"),
    )
    assert len(letters) == 5


def test_pools_of_one_target_are_joined_oldest_first_and_strange_letters_are_left_out() -> None:
    both = joined([encoded([(50.0, "idle"), (0.1, "idle")]), encoded([(6.0, "running")])])
    assert [each.age for each in decoded(both)] == [3, 2, 0]
    assert decoded("a?Zb\x00") == (Slot(0, "running"), Slot(1, "running"))
    assert len(decoded("a" * 10_000)) == MOST
