"""Who holds connections: all that are told of, and one as its process has it now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from poolmgr.control.inquiry import Answer
from poolmgr.control.reach import Outage
from poolmgr.control.reporting.documents.paging import ALL, Key, Page, part
from poolmgr.control.reporting.documents.targets import head, views
from poolmgr.control.reporting.documents.values import above, text
from poolmgr.control.reporting.fleet import Fleet
from poolmgr.metrics.snapshot import Holder, ProcessBeat

#: What the parts of a holder's key are.
KEY = (float, str, str, str, int)


@dataclass(frozen=True, slots=True)
class Held:
    """A checkout, where it is, and since when, in seconds since the epoch.

    ``name`` is what ``stack``, ``cancel`` and ``end`` are told.
    """

    target: str
    holder: Holder
    beat: ProcessBeat
    since: float

    @property
    def key(self) -> Key:
        """By which they are listed, the oldest first."""
        return round(self.since, 3), self.target, self.beat.uid, self.holder.checkout, self.holder.backend_pid

    @property
    def name(self) -> str:
        return name_of(self.holder, self.beat)

    @property
    def label(self) -> str:
        """For whom it is held."""
        whose = label_of(self.holder, self.beat)
        return f"{whose}[{self.holder.request}]" if self.holder.request else whose


def name_of(holder: Holder, beat: ProcessBeat) -> str:
    return f"{holder.checkout}@{beat.uid}" if holder.checkout else ""


def for_whom(holder: Holder, beat: ProcessBeat | None) -> str:
    """The view, task or command; "" where it is none."""
    return holder.label or (beat.name if beat is not None and beat.role == "command" else "")


def label_of(holder: Holder, beat: ProcessBeat | None) -> str:
    """The same, and else the thread."""
    return for_whom(holder, beat) or holder.thread


def held(fleet: Fleet, target: str = "") -> list[Held]:
    """Who holds connections, the oldest first, as far as their processes tell; nobody of a target that there is none of."""
    found = [
        Held(pool.target, holder, beat, (pool.at or beat.at) - holder.seconds)
        for beat in fleet.processes
        for pool in beat.pools
        if target in ("", pool.target)
        for holder in pool.holders
    ]
    return sorted(found, key=lambda each: each.key)


def holders(
    fleet: Fleet, target: str = "", statements: bool = True, outage: Outage | None = None, page: Page = ALL
) -> dict[str, Any]:
    """Without ``statements`` those are None. Raises ``LookupError`` for a target that there is none of."""
    views(fleet, target)
    shown, following = part(held(fleet, target), lambda each: each.key, page)
    told = [holder(each.target, each.holder, each.beat, statements) for each in shown]
    return {**head(fleet, outage), "holders": told, "next": following}


def holder(target: str, found: Holder, beat: ProcessBeat, statements: bool) -> dict[str, Any]:
    return {
        "name": text(name_of(found, beat)),
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
