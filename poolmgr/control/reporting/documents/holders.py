"""Who holds connections: all that are told of, and one as its process has it now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from poolmgr.control.inquiry import Answer
from poolmgr.control.reach import Outage
from poolmgr.control.reporting.documents.targets import head, views
from poolmgr.control.reporting.documents.values import above, text
from poolmgr.control.reporting.fleet import Fleet
from poolmgr.metrics.snapshot import Holder, ProcessBeat


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
        whose = label_of(self.holder, self.beat)
        return f"{whose}[{self.holder.request}]" if self.holder.request else whose


def label_of(holder: Holder, beat: ProcessBeat) -> str:
    return holder.label or (beat.name if beat.role == "command" else "") or holder.thread


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


def holders(fleet: Fleet, target: str = "", statements: bool = True, outage: Outage | None = None) -> dict[str, Any]:
    """Without ``statements`` those are None. Raises ``LookupError`` for a target that there is none of."""
    views(fleet, target)
    told = [holder(each.target, each.holder, each.beat, statements) for each in held(fleet, target)]
    return {**head(fleet, outage), "holders": told}


def holder(target: str, found: Holder, beat: ProcessBeat, statements: bool) -> dict[str, Any]:
    return {
        "name": text(Held(target, found, beat).name),
        "target": target,
        "checkout": text(found.checkout),
        "held_for": found.seconds,
        "label": label_of(found, beat),
        "request": text(found.request),
        "state": text(found.state),
        "statement": text(found.statement) if statements else None,
        "pinned": text(found.pinned),
        "thread": found.thread,
        "backend_pid": above(found.backend_pid),
        "process": place(beat),
    }


def place(beat: ProcessBeat) -> dict[str, Any]:
    """Which process it is; of one that is gone the uid is all that is known."""
    return {"uid": beat.uid, "role": text(beat.role), "host": text(beat.host), "pid": above(beat.pid)}


@dataclass(frozen=True, slots=True)
class Look:
    """What is known of one checkout: of now if its process has just said so (``live``), else of the answer's own time.

    ``why`` says what keeps it from being known, or that it is over.
    """

    beat: ProcessBeat | None
    uid: str
    target: str
    answer: Answer | None
    live: bool
    why: str = ""


def checkout(look: Look, statements: bool, stack: bool) -> dict[str, Any]:
    """One holder; its ``stack`` where it was asked for, the innermost call last."""
    answer = look.answer
    found = answer.holder if answer else None
    told: Sequence[str] | None = answer.stack if answer and stack else None
    beat = look.beat or ProcessBeat(look.uid, host="", pid=0, role="", started=0.0, at=0.0)
    return {
        "at": answer.at if answer else None,
        "live": look.live,
        "why": text(look.why),
        "holder": holder(look.target, found, beat, statements) if found else None,
        "stack": list(told) if told else None,
    }
