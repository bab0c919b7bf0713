"""What there is to read: each as a document for programs, and as lines for people."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from poolmgr.control.access import control_alias
from poolmgr.control.reporting.advice import ADVICE
from poolmgr.control.reporting.fleet import Fleet
from poolmgr.control.reporting.report import view_as_dict
from poolmgr.control.reporting.views import TargetView
from poolmgr.control.watching import records
from poolmgr.management.terminal.tables import table
from poolmgr.metrics.health import STATES
from poolmgr.metrics.snapshot import Holder, ProcessBeat
from poolmgr.metrics.words import span
from poolmgr.models import Event


@dataclass(frozen=True, slots=True)
class Held:
    """A checkout, and where it is; ``name`` is what ``stack``, ``cancel`` and ``end`` are told."""

    target: str
    holder: Holder
    beat: ProcessBeat

    @property
    def name(self) -> str:
        return f"{self.holder.checkout}@{self.beat.uid}" if self.holder.checkout else ""

    @property
    def label(self) -> str:
        """For whom it is held."""
        whose = self.holder.label or (self.beat.name if self.beat.role == "command" else "") or self.holder.thread
        return f"{whose}[{self.holder.request}]" if self.holder.request else whose


def views(fleet: Fleet, target: str = "") -> list[TargetView]:
    """The worst first. Raises ``LookupError`` for a target that there is none of."""
    found = [view for view in fleet.targets if target in ("", view.target)]
    if target and not found:
        raise LookupError(
            f"there is no target {target!r}; there are {', '.join(view.target for view in fleet.targets)}"
        )
    return sorted(found, key=lambda view: (not view.processes, -STATES.index(view.verdict.state), view.target))


def status(fleet: Fleet, target: str = "") -> dict[str, Any]:
    """Every target with its verdict and its figures."""
    return {
        "at": fleet.at,
        "store": fleet.store,
        "store_error": fleet.store_error,
        "troubles": [str(each) for each in fleet.troubles],
        "targets": [
            {
                "target": view.target,
                "kind": view.kind,
                "verdict": {"state": view.verdict.state, "code": view.verdict.code, "message": view.verdict.sentence},
                "roles": [
                    {name: getattr(role, name) for name in ("role", "used", "idle", "pending", "capacity")}
                    | {"processes": len(role.places), "full": len(role.full)}
                    for role in view.roles
                ],
                **view_as_dict(view),
            }
            for view in views(fleet, target)
        ],
    }


def status_lines(fleet: Fleet, target: str = "") -> Iterator[str]:
    found = views(fleet, target)
    rows = [
        (
            view.verdict.state,
            view.target,
            role.role if role else "-",
            f"{role.used}/{role.capacity}" if role else "-",
            str(role.idle) if role else "-",
            str(role.pending) if role else "-",
            f"{len(role.full)}/{len(role.places)}" if role else "-",
        )
        for view in found
        for role in view.roles or (None,)
    ]
    yield from table(("STATE", "TARGET", "ROLE", "USED", "IDLE", "WAITING", "FULL"), rows, frozenset({3, 4, 5, 6}))
    yield ""
    yield from (f"{view.target}: {view.verdict.sentence}" for view in found if view.processes)
    yield from (sentence for sentence in (fleet.store_error, fleet.unread_error) if sentence)
    yield from map(str, fleet.troubles)


def held(fleet: Fleet, target: str = "") -> list[Held]:
    """Who holds connections, the oldest first, as far as their processes tell; nobody of a target that there is none of."""
    found = [
        Held(pool.target, holder, beat)
        for beat in fleet.processes
        for pool in beat.pools
        if target in ("", pool.target)
        for holder in pool.holders
    ]
    return sorted(found, key=lambda each: -each.holder.seconds)


def holders(fleet: Fleet, target: str = "") -> list[dict[str, Any]]:
    views(fleet, target)
    return [
        {
            "name": each.name,
            "target": each.target,
            "held_for": each.holder.seconds,
            "label": each.label,
            "request": each.holder.request,
            "state": each.holder.state,
            "statement": each.holder.statement,
            "pinned": each.holder.pinned,
            "thread": each.holder.thread,
            "backend_pid": each.holder.backend_pid or None,
            "process": {"uid": each.beat.uid, "role": each.beat.role, "host": each.beat.host, "pid": each.beat.pid},
        }
        for each in held(fleet, target)
    ]


def holder_lines(fleet: Fleet, target: str = "", most: int | None = None) -> Iterator[str]:
    views(fleet, target)
    found = held(fleet, target)[:most]
    if not found:
        yield "Nobody holds a connection."
        return
    rows = [
        (
            span(each.holder.seconds),
            each.label,
            each.holder.state or "-",
            each.target,
            f"{each.beat.role} {each.beat.host}:{each.beat.pid}",
            str(each.holder.backend_pid or "-"),
            each.name or "-",
        )
        for each in found
    ]
    yield from table(("HELD", "BY", "STATE", "TARGET", "PROCESS", "SERVER", "NAME"), rows, frozenset({0, 5}))


def why_lines(fleet: Fleet, target: str) -> Iterator[str]:
    """The verdict, what to look at, what to do, and who holds connections."""
    [view] = views(fleet, target)
    yield f"{target} is {view.verdict.state}: {view.verdict.sentence}"
    for each in records.going_on():
        if each.target == target and each.why:
            yield f"Just before: {each.why}"
    if entry := ADVICE.get(view.verdict.code):
        yield ""
        yield str(entry.means)
        yield ""
        yield "Look at:"
        yield from (f"  - {each}" for each in entry.look)
        yield "Do:"
        yield from (f"  {at}. {each}" for at, each in enumerate(entry.do, 1))
    yield ""
    yield from holder_lines(fleet, target, 10)


def happened(limit: int) -> list[dict[str, Any]]:
    """Episodes and events, the newest first. Raises ``django.db.Error``."""
    found = [
        {
            "at": each.began_at.isoformat(),
            "until": each.ended_at.isoformat() if each.ended_at else None,
            "kind": "episode",
            "target": each.target,
            "author": "",
            "message": each.sentence + (f" Just before: {each.why}" if each.why else ""),
        }
        for each in records.recent(limit)
    ]
    found += [
        {
            "at": each.at.isoformat(),
            "until": None,
            "kind": each.kind,
            "target": each.target,
            "author": each.author,
            "message": each.message,
        }
        for each in Event.objects.using(control_alias()).order_by("-at", "-id")[:limit]
    ]
    return sorted(found, key=lambda each: each["at"] or "", reverse=True)[:limit]


def event_lines(limit: int) -> Iterator[str]:
    rows = [
        (
            str(each["at"])[:19].replace("T", " "),
            str(each["kind"]) + ("" if each["kind"] != "episode" or each["until"] else ", goes on"),
            str(each["target"] or "-"),
            str(each["author"] or "-"),
            str(each["message"]),
        )
        for each in happened(limit)
    ]
    yield from table(("WHEN", "WHAT", "TARGET", "BY", ""), rows)
