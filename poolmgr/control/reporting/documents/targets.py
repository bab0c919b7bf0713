"""Targets: each with its verdict and its figures, and one with all that is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from poolmgr.control.reach import Outage
from poolmgr.control.reporting.documents.values import above, moment, text, times, verdict
from poolmgr.control.reporting.fleet import Fleet
from poolmgr.control.reporting.troubles import Trouble
from poolmgr.control.reporting.views import TargetView, rank
from poolmgr.metrics.blocking import Session
from poolmgr.metrics.health import Checked
from poolmgr.metrics.phrases import unpacked
from poolmgr.metrics.places import RoleView
from poolmgr.metrics.seen import Seen
from poolmgr.targets.known import kind_named

_GAUGES = ("used", "idle", "opening", "pending", "capacity")


def views(fleet: Fleet, target: str = "") -> list[TargetView]:
    """The worst first. Raises ``LookupError`` for a target that there is none of."""
    found = [view for view in fleet.targets if target in ("", view.target)]
    if target and not found:
        raise LookupError(
            f"there is no target {target!r}; there are {', '.join(view.target for view in fleet.targets)}"
        )
    return sorted(found, key=lambda view: rank(view, view.verdict.state))


def head(fleet: Fleet, outage: Outage | None = None) -> dict[str, Any]:
    """What every document on the fleet begins with: how old it is, and what could not be read."""
    return {
        "at": round(fleet.at, 3),
        "store": text(fleet.store),
        "store_error": text(fleet.store_error),
        "control_error": outage.sentence if outage else None,
        "control_lost": outage.since if outage else None,
        "unread": [asdict(each) for each in fleet.unread],
    }


def status(fleet: Fleet, target: str = "", outage: Outage | None = None) -> dict[str, Any]:
    """Every target, or one, with its verdict and its figures. Raises ``LookupError``."""
    return {
        **head(fleet, outage),
        "processes": len(fleet.processes) if fleet.store else None,
        "troubles": [_trouble(each) for each in fleet.troubles],
        "targets": [brief(view, bool(fleet.store)) for view in views(fleet, target)],
    }


def _trouble(found: Trouble) -> dict[str, Any]:
    told = {"code": found.code, "state": found.state, "since": above(found.since), "message": found.sentence}
    return {**told, "processes": list(found.processes)}


def one(fleet: Fleet, target: str, statements: bool, outage: Outage | None = None) -> dict[str, Any]:
    """All that is known of a target, but for its processes and holders. Raises ``LookupError``."""
    [view] = views(fleet, target)
    return {
        **head(fleet, outage),
        **brief(view, bool(fleet.store)),
        "of_pools": verdict(view.of_pools),
        "pins": dict(view.pins),
        "health": None if outage else health(view.last_health, view.health_fresh),
        "seen": seen(view.seen, view.seen_now, statements),
        "blocked": _blocked(view),
    }


def brief(view: TargetView, told: bool) -> dict[str, Any]:
    """``told`` is false where the fleet's store can't be read: then nobody knows what its processes hold."""
    known, elsewhere = told or view.processes > 0, kind_named(view.kind).elsewhere
    return {
        "target": view.target,
        "kind": view.kind,
        "address": text(view.address),
        "verdict": verdict(view.verdict),
        "processes": view.processes if known else None,
        **{name: getattr(view, name) if known else None for name in _GAUGES},
        "max_size": above(view.max_size),
        "oldest_checkout": above(view.oldest_checkout),
        "oldest_wait": above(view.oldest_wait),
        "paused": view.paused if known else None,
        **_last_minute(view, known, elsewhere),
        "applied": {"current": view.applied[0], "of": view.applied[1]} if known else None,
        "profiles": list(view.profiles),
        "roles": [_role(role) for role in view.roles],
    }


def _last_minute(view: TargetView, known: bool, elsewhere: bool) -> dict[str, Any]:
    return {
        "checkouts": view.checkouts if known else None,
        "timeouts": view.timeouts if known and not elsewhere else None,
        "last_timeout_at": above(view.last_timeout_at),
        "refused": view.refused if known else None,
        "wait": times(view.wait, view.means.get("wait")),
        "use": times(view.use, view.means.get("use")),
    }


def _role(role: RoleView) -> dict[str, Any]:
    """``full`` are processes, as host:pid, all of whose connections are in use."""
    gauges = {name: getattr(role, name) for name in _GAUGES}
    return {"role": role.role, **gauges, "processes": len(role.places), "full": [place.name for place in role.full]}


def health(check: Checked | None, fresh: bool) -> dict[str, Any] | None:
    """The last stored check of the server."""
    if check is None:
        return None
    names = ("connect_time", "query_time", "server_used", "server_max", "server_reserved", "ours", "behind_pooler")
    return {
        "at": moment(check.at),
        "fresh": fresh,
        "state": check.state,
        "message": check.sentence,
        **{name: getattr(check, name) for name in names},
        "server_version": text(check.server_version),
    }


def seen(found: Seen | None, now: bool, statements: bool) -> dict[str, Any] | None:
    """What somebody's look at the server saw, which is so still if ``now``; without ``statements`` those are None."""
    if found is None or not (found.at or found.error):
        return None
    counted = {name: getattr(found, name) if found.at else None for name in ("used", "reserved", "free", "others")}
    return {
        "at": above(found.at),
        "now": now,
        "error": text(unpacked(found.error)),
        "max": above(found.most),
        **counted,
        "ours": dict(found.ours),
        "strangers": [
            {
                "application_name": text(each.name),
                "user": text(each.user),
                "address": text(each.address),
                "sessions": each.number,
            }
            for each in found.strangers
        ],
        "waiting": found.waiting if found.at else None,
        "hidden": found.hidden,
        "behind_pooler": found.behind_pooler,
        "sessions": [_session(each, statements) for each in found.sessions],
    }


def _session(each: Session, statements: bool) -> dict[str, Any]:
    return {
        "pid": above(each.pid),
        "kind": each.kind,
        "application_name": text(each.name),
        "user": text(each.user),
        "address": text(each.address),
        "state": text(each.state),
        "state_for": above(each.seconds),
        "waits_for": above(each.waits),
        "blocked_by": list(each.blocked_by),
        "statement": text(each.statement) if statements else None,
    }


def _blocked(view: TargetView) -> Mapping[str, Any] | None:
    """Those of ours who wait for locks, by the numbers of their ends, and who is in the way of most."""
    held_up = view.blocked
    return {"pids": list(held_up.pids), "root": held_up.root, "more_roots": held_up.more} if held_up else None
