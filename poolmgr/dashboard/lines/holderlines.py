"""Who holds connections, the oldest first, as the pages list them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from poolmgr.control.reporting.documents.holders import for_whom, held
from poolmgr.control.reporting.fleet import Fleet
from poolmgr.control.reporting.pinned import reasons_said
from poolmgr.control.reporting.spoken import spoken
from poolmgr.control.reporting.views import TargetView
from poolmgr.dashboard.addresses import holder_address
from poolmgr.dashboard.lines.blocking import blockers
from poolmgr.dashboard.words.present import HOLDER_STATES, Figure, timed
from poolmgr.metrics.snapshot import Holder, ProcessBeat
from poolmgr.targets.known import kind_named


@dataclass(frozen=True, slots=True)
class HolderLine:
    """Who holds a connection, and for which view, task or command.

    ``end`` is what the server calls its end of it, such as “server process 4711”.
    """

    target: str
    process: str
    label: str
    request: str
    thread: str
    state: str
    loiters: bool  # in a transaction, and asks nothing: others may wait for its locks
    statement: str  # that runs, or ran last
    runs: bool
    seconds: Figure
    end: str
    pinned: str
    address: str  # of its page, "" where it has none
    blocked_by: str


def holder_lines(
    views: Sequence[TargetView], fleet: Fleet, statements: bool, most: int, least: float = 0.0
) -> tuple[HolderLine, ...]:
    """Of all of ``views`` the ``most`` that hold for longest, none for less than ``least`` seconds.

    Without ``statements`` those are left out.
    """
    wanted = {view.target for view in views}
    found = held(fleet, next(iter(wanted)) if len(wanted) == 1 else "")
    shown = [each for each in found if each.target in wanted and each.holder.seconds >= least][:most]
    named = {each.target for each in shown}
    by_target = {view.target: _Context(view, fleet) for view in views if view.target in named}
    return tuple(_line(each.holder, each.beat, by_target[each.target], statements) for each in shown)


class _Context:
    """What the lines of one target have in common."""

    def __init__(self, view: TargetView, fleet: Fleet) -> None:
        self.target = view.target
        self.in_the_way = blockers(view, fleet)
        # What some drivers were told behind a pooler is no process, or a stranger's.
        behind_pooler = any(look and look.behind_pooler for look in (view.last_health, view.seen))
        self.end = "" if behind_pooler else spoken(kind_named(view.kind).end)


def _line(each: Holder, beat: ProcessBeat, of: _Context, statements: bool) -> HolderLine:
    return HolderLine(
        target=of.target,
        process=f"{beat.host}:{beat.pid}",
        label=for_whom(each, beat),
        request=each.request,
        thread=each.thread,
        state=str(HOLDER_STATES.get(each.state, "")),
        loiters=each.state in ("in transaction", "failed transaction"),
        statement=each.statement if statements else "",
        runs=each.state == "running",
        seconds=timed(each.seconds),
        end=f"{of.end} {each.backend_pid}" if each.backend_pid and of.end else "",
        pinned=reasons_said(each.pinned),
        address=holder_address(beat.uid, of.target, each.checkout),
        blocked_by=of.in_the_way.get(each.backend_pid, ""),
    )
