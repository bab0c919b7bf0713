"""For whom a target's connections are used, over all live processes, and what follows for the one that holds them most."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from django.utils.translation import gettext as _
from msgspec.structs import replace

from poolmgr.metrics.snapshot import PoolSnapshot, ProcessBeat
from poolmgr.metrics.uses import LONGEST, NOBODY, OTHERS, Spent, Use, summed

#: Labels that are shown one by one.
MOST = 20
#: Seconds held within about ten minutes, below which nothing follows for anybody.
_MATTERS = 1.0


@dataclass(frozen=True, slots=True)
class Used:
    """``uses`` by label, the most held lately first; all others are the last one. ``worst`` is a sentence on the first of
    those that have a label, or "" where nothing follows. ``splits`` says whether anything is known of what held
    connections were needed for."""

    uses: tuple[Use, ...]
    worst: str
    splits: bool


def used_by(target: str, processes: Iterable[ProcessBeat], told: Callable[[float], str]) -> Used:
    """Of one target; ``told`` puts seconds into words."""
    found = [(beat, pool) for beat in processes for pool in beat.pools if pool.target == target]
    uses = summed((use for beat, pool in found for use in _uses(beat, pool)), MOST)
    returns_early = bool(found) and all(pool.pool_mode != "session" for _beat, pool in found)
    named = [use for use in uses if use.kind not in (NOBODY, OTHERS)] or [*uses]
    worst = _sentence(named[0], returns_early, told) if named else ""
    return Used(uses, worst, any(use.splits for use in uses))


def label_of(use: Use) -> str:
    """For people."""
    if use.kind == OTHERS:
        return _("all others")
    return use.name or _("no view, task or command")


def _uses(beat: ProcessBeat, pool: PoolSnapshot) -> Iterator[Use]:
    for use in pool.uses:
        # A command has one label all its life, which its process tells.
        of_command = use.kind == NOBODY and beat.role == "command" and beat.name
        yield replace(use, kind="command", name=beat.name[:LONGEST]) if of_command else use


def _sentence(use: Use, returns_early: bool, told: Callable[[float], str]) -> str:
    spent = use.recent
    if spent.held < _MATTERS:
        return ""
    times = max(1, spent.count)
    words = {
        "label": label_of(use),
        "each": told(spent.held / times),
        "held": told(spent.held),
        "sql": told(spent.sql / times),
        "kept": told(spent.kept / times),
        "elsewhere": told(spent.elsewhere / times),
    }
    return _form(spent, use.splits, returns_early) % words


def _form(spent: Spent, splits: bool, returns_early: bool) -> str:
    if not splits:
        return _("%(label)s holds a connection for %(each)s at a time, %(held)s in all.")
    most = max(spent.sql, spent.kept, spent.elsewhere)
    if most == spent.sql:
        return _(
            "%(label)s holds a connection for %(each)s at a time, and %(sql)s of that is SQL: look at its statements."
        )
    if most == spent.kept:
        return _(
            "%(label)s holds a connection for %(each)s at a time for %(sql)s of SQL: for %(kept)s it keeps a transaction, a"
            " cursor or session state open and asks nothing. Do what is slow before the transaction, or in on_commit()."
        )
    if returns_early:
        return _(
            "%(label)s holds a connection for %(each)s at a time for %(sql)s of SQL, and doesn't need it for %(elsewhere)s:"
            " end the block that keeps it earlier."
        )
    return _(
        "%(label)s holds a connection for %(each)s at a time for %(sql)s of SQL, and doesn't need it for %(elsewhere)s: with"
        " pool_mode transaction others could use it meanwhile; or put what needs no database into released()."
    )
