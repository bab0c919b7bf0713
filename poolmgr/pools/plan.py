"""What to do to a running pool so that it follows new settings: a pure decision."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from poolmgr.pools.spec import FIELDS, PoolSpec, plainly


class Action(Enum):
    """From cheap to dear: nothing, change plain attributes, change sizes in place."""

    KEEP = "keep"
    TUNE = "tune"
    RESIZE = "resize"


@dataclass(frozen=True, slots=True)
class Plan:
    """``changes`` maps a setting's name to its old and new value; ``reason`` is a sentence for the log."""

    action: Action
    changes: dict[str, tuple[object, object]]
    reason: str


_SIZES = frozenset({"min_size", "max_size"})


def plan(old: PoolSpec, new: PoolSpec) -> Plan:
    """The cheapest way from ``old`` to ``new``; everything that a profile holds is applied in place."""
    changes: dict[str, tuple[object, object]] = {
        name: (getattr(old, name), getattr(new, name)) for name in FIELDS if getattr(old, name) != getattr(new, name)
    }
    listed = ", ".join(f"{name} {plainly(before)} → {plainly(after)}" for name, (before, after) in changes.items())
    if not changes:
        return Plan(Action.KEEP, changes, "nothing changed")
    if changes.keys() & _SIZES:
        return Plan(Action.RESIZE, changes, f"resized in place: {listed}")
    return Plan(Action.TUNE, changes, f"tuned in place: {listed}")
