"""The processes of the fleet: each with its pools, and one with all that it tells."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from poolmgr.control.reach import Outage
from poolmgr.control.reporting.documents.holders import holder
from poolmgr.control.reporting.documents.paging import ALL, Key, Page, part
from poolmgr.control.reporting.documents.targets import head
from poolmgr.control.reporting.documents.values import above, text, times, verdict
from poolmgr.control.reporting.fleet import Fleet
from poolmgr.metrics.health import verdict_of
from poolmgr.metrics.phrases import unpacked
from poolmgr.metrics.serving import Serving
from poolmgr.metrics.snapshot import Ack, PoolSnapshot, ProcessBeat
from poolmgr.metrics.totals import COUNTERS
from poolmgr.targets.known import kind_named

#: What the parts of a process's key are, by which they are listed.
KEY = (str, str, int, str)
_PLAIN = ("status", "pool_mode", "profile", "revision", "generation", "min_size", "max_size", "limit")
_GAUGES = ("used", "idle", "opening", "closing", "pending")


def processes(
    fleet: Fleet, target: str = "", role: str = "", outage: Outage | None = None, page: Page = ALL
) -> dict[str, Any]:
    """Those with a pool to ``target``, of ``role``, "" for any; the pools of others than ``target`` are left out."""
    found = (
        beat
        for beat in fleet.processes
        if role in ("", beat.role) and (not target or any(pool.target == target for pool in beat.pools))
    )
    shown, following = part(found, _key, page)
    told = [process(beat, fleet.at, target) for beat in shown]
    return {**head(fleet, outage), "processes": told, "next": following}


def _key(beat: ProcessBeat) -> Key:
    return beat.role, beat.host, beat.pid, beat.uid


def one(fleet: Fleet, uid: str, statements: bool, commands: bool, outage: Outage | None = None) -> dict[str, Any]:
    """Without ``statements`` those are None, and so is what it has done without ``commands``.

    Raises ``LookupError`` for a process that nobody hears of.
    """
    beat = next((each for each in fleet.processes if each.uid == uid), None)
    if beat is None:
        why = fleet.why_unread(uid)
        raise LookupError(f"its report can't be read: {why}" if why else f"no live process is called {uid!r}")
    told = {
        **_told(beat),
        "pools": [_whole(beat, pool, fleet.at, statements) for pool in beat.pools],
        "acknowledgements": [_ack(each) for each in beat.acks] if commands else None,
    }
    return {**head(fleet, outage), "process": told}


def process(beat: ProcessBeat, now: float, target: str = "") -> dict[str, Any]:
    pools = (pool for pool in beat.pools if target in ("", pool.target))
    return {**_told(beat), "pools": [_brief(beat, pool, now) for pool in pools]}


def _told(beat: ProcessBeat) -> dict[str, Any]:
    return {
        "uid": beat.uid,
        "role": beat.role,
        "host": beat.host,
        "pid": beat.pid,
        "name": text(beat.name),
        "version": text(beat.version),
        "started": beat.started,
        "last_beat": beat.at,
        "control_lost": above(beat.control_lost),
        "store_lost": above(beat.store_lost),
        "problems": [unpacked(each) for each in beat.problems],
        "serving": _serving(beat.serving),
    }


def _serving(told: Serving | None) -> dict[str, Any] | None:
    """Its request threads, and since when none has come free; which line each view is at only its page tells."""
    if told is None:
        return None
    views = [{"label": each.name, "requests": each.number, "longest": each.seconds} for each in told.views]
    return {
        "threads": told.threads,
        "busy": told.busy,
        "waiting": told.waiting,
        "stuck": above(told.stuck),
        "views": views,
    }


def _brief(beat: ProcessBeat, pool: PoolSnapshot, now: float) -> dict[str, Any]:
    elsewhere = kind_named(pool.kind).elsewhere
    return {
        "target": pool.target,
        "kind": pool.kind,
        "address": text(pool.address),
        "verdict": verdict(verdict_of(beat.role, f"{beat.host}:{beat.pid}", pool, now)),
        **{name: getattr(pool, name) for name in (*_PLAIN, *_GAUGES)},
        "oldest_checkout": above(pool.oldest_checkout),
        "oldest_wait": above(pool.oldest_wait),
        "paused_at": above(pool.paused_at),
        "checkouts": pool.recent_checkouts,
        "timeouts": None if elsewhere else pool.recent_timeouts,
        "last_timeout_at": above(pool.last_timeout_at),
        "refused": pool.recent_refused,
        "wait": times(pool.recent_wait_time, pool.recent_means.get("wait")),
        "use": times(pool.recent_use_time, pool.recent_means.get("use")),
        "backend_pids": list(pool.backend_pids),
        "behind_pooler": pool.behind_pooler,
        "last_error": text(unpacked(pool.last_error)),
        "problem": text(unpacked(pool.problem)),
    }


def _whole(beat: ProcessBeat, pool: PoolSnapshot, now: float, statements: bool) -> dict[str, Any]:
    """``totals`` and ``pins`` are since the pool was made, ``settings`` None where they were not told."""
    elsewhere = kind_named(pool.kind).elsewhere
    return {
        **_brief(beat, pool, now),
        "settings": None if pool.digest else dict(pool.settings),
        "totals": None if elsewhere else {name: getattr(pool, name) for name in COUNTERS},
        "pins": dict(pool.pins),
        "create": times(pool.create_time),
        "databases": [{"name": each.name, "paused": each.paused, "disabled": each.disabled} for each in pool.parts],
        "holders": [holder(pool.target, each, beat, statements) for each in pool.holders],
    }


def _ack(each: Ack) -> dict[str, Any]:
    return {"command": each.command, "state": each.state, "message": text(unpacked(each.message)), "at": above(each.at)}


def named(beats: Iterable[ProcessBeat], name: str) -> ProcessBeat:
    """A process by its uid, or by host:pid. Raises ``LookupError``."""
    found = [beat for beat in beats if name in (beat.uid, f"{beat.host}:{beat.pid}")]
    if len(found) != 1:
        raise LookupError(f"{len(found) or 'no'} live processes are called {name!r}")
    return found[0]
