"""A heartbeat in two parts: what every look at the fleet needs, and what is looked at seldom. Both are heartbeats."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from zlib import crc32

from msgspec.structs import replace

from poolmgr.metrics.snapshot import Holder, PoolSnapshot, ProcessBeat
from poolmgr.metrics.totals import COUNTERS, TIMES

#: What is looked at seldom: what is told as soon as it changes, and what the store's totals have as well. The numbers of the
#: connections' ends are no part of it, since a verdict on who is blocked needs them.
_TOLD = ("settings", "holders", "uses")
_COUNTED = ("pins", *COUNTERS, *TIMES)
#: Settings by which the whole fleet is judged.
_KEPT = ("budget", "health_check_interval")


def split(beat: ProcessBeat) -> tuple[ProcessBeat, ProcessBeat]:
    """What changes often, and the details of its pools."""
    often = replace(beat, pools=tuple(map(_without_details, beat.pools)))
    details = ProcessBeat(
        beat.uid, beat.host, beat.pid, beat.role, beat.started, beat.at, pools=tuple(map(_details_of, beat.pools))
    )
    return often, details


def joined(often: ProcessBeat, details: ProcessBeat, target: str = "") -> ProcessBeat:
    """One again; a pool of which there are no details stays without, and so does any but that to ``target``, if given."""
    found = {pool.target: pool for pool in details.pools if target in ("", pool.target)}
    age = max(0.0, often.at - details.at)
    return replace(often, pools=tuple(_whole(pool, found.get(pool.target), age) for pool in often.pools))


def is_news(details: ProcessBeat, last: ProcessBeat | None) -> bool:
    """Whether they tell of anything but the passing of time, and what is in the totals anyway."""
    return last is None or [*map(_lasting, details.pools)] != [*map(_lasting, last.pools)]


def digest_of(settings: Mapping[str, Any]) -> str:
    """The same for settings that are equal."""
    alike = {name: value if isinstance(value, bool | str) else float(value) for name, value in settings.items()}
    return f"{crc32(json.dumps(alike, sort_keys=True).encode()):08x}" if settings else ""


def _without_details(pool: PoolSnapshot) -> PoolSnapshot:
    bare = PoolSnapshot(pool.target)
    given = {name: getattr(bare, name) for name in (*_TOLD, *_COUNTED)}
    given["settings"] = {name: pool.settings[name] for name in _KEPT if name in pool.settings}
    return replace(pool, digest=digest_of(pool.settings), **given)


def _details_of(pool: PoolSnapshot) -> PoolSnapshot:
    return PoolSnapshot(pool.target, **{name: getattr(pool, name) for name in (*_TOLD, *_COUNTED)})


def _whole(pool: PoolSnapshot, details: PoolSnapshot | None, age: float) -> PoolSnapshot:
    if details is None:
        return pool
    given = {name: getattr(details, name) for name in (*_TOLD, *_COUNTED)}
    if age:
        given["holders"] = tuple(replace(each, seconds=each.seconds + age) for each in details.holders)
    return replace(pool, digest="", **given)


def _lasting(pool: PoolSnapshot) -> tuple[str, Mapping[str, Any], list[Holder]]:
    return pool.target, pool.settings, [replace(each, seconds=0.0) for each in pool.holders]
