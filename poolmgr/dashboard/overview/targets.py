"""One row for each target: its verdict, how full it is where it is fullest, and its last hour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from poolmgr.control.reporting.fleet import Fleet
from poolmgr.control.reporting.spoken import spoken
from poolmgr.control.reporting.views import TargetView, rank
from poolmgr.dashboard.addresses import history_address, target_address
from poolmgr.dashboard.drawing.bars import Bar, bars
from poolmgr.dashboard.drawing.strips import Strip
from poolmgr.dashboard.words.present import DASH, Figure, number, timed
from poolmgr.dashboard.words.verdicts import Said, said_of
from poolmgr.targets.known import kind_named

#: Rows on the page; the rest behind a link.
MOST = 8


@dataclass(frozen=True, slots=True)
class TargetRow:
    """``role`` is the one with the least room, of which ``bar`` and ``of`` tell."""

    target: str
    address: str
    kind: str
    state: str
    sentence: str
    paused: bool
    bar: Bar | None
    role: str
    full: str
    waiting: str
    waits: bool
    failed: str
    fails: bool
    wait: Figure
    strip: Strip | None
    history: str


@dataclass(frozen=True, slots=True)
class TargetRows:
    """``more`` says how many are left out, "" where none is; ``idle`` are those that no process has open, with addresses."""

    rows: tuple[TargetRow, ...]
    more: str
    idle: tuple[tuple[str, str], ...]


def ranked(fleet: Fleet) -> list[tuple[TargetView, Said]]:
    """The worst first; of equals those that somebody uses, by name."""
    found = [(view, said_of(view, fleet)) for view in fleet.targets]
    return sorted(found, key=lambda each: rank(each[0], each[1].state))


def fits(found: tuple[TargetView, Said], text: str) -> bool:
    """Whether a target is one that was asked for."""
    view, said = found
    return text.lower() in f"{view.target} {view.kind} {view.address} {said.sentence}".lower()


def target_rows(found: Sequence[tuple[TargetView, Said]], everything: bool, strips: Mapping[str, Strip]) -> TargetRows:
    used = [(view, said) for view, said in found if view.processes]
    shown = used if everything else used[:MOST]
    rest = used[len(shown) :]
    more = ""
    if rest:
        more = ngettext("%(n)s more target", "%(n)s more targets", len(rest)) % {"n": number(len(rest))}
        worst = rest[0][1].state
        more = _("%(more)s, all well") % {"more": more} if worst == "ok" else more
    return TargetRows(
        tuple(_row(view, said, strips.get(view.target)) for view, said in shown),
        more,
        tuple((view.target, target_address(view.target)) for view, _said in found if not view.processes),
    )


def _row(view: TargetView, said: Said, strip: Strip | None) -> TargetRow:
    kind = kind_named(view.kind)
    worst = view.roles[0] if view.roles else None
    return TargetRow(
        target=view.target,
        address=target_address(view.target),
        kind=spoken(kind.label) if kind.name == view.kind else view.kind,
        state=said.state,
        sentence=said.sentence,
        paused=view.paused,
        bar=bars((worst,))[0] if worst else None,
        role=worst.role if worst and len(view.roles) > 1 else "",
        full=_full(view),
        waiting=number(view.pending),
        waits=view.pending > 0,
        failed=DASH if kind.elsewhere else number(view.timeouts),
        fails=view.timeouts > 0,
        wait=timed(view.means.get("wait") if kind.elsewhere else view.wait.quantile(0.95)),
        strip=strip if strip and not strip.is_empty else None,
        history=history_address(view.target),
    )


def _full(view: TargetView) -> str:
    """Such as “2 of 3 full”, of the processes of roles that have full ones; "" where none is, or there is but one process, of
    which the bar says it."""
    there = [role for role in view.roles if role.full]
    if not there or view.processes < 2:
        return ""
    full, among = sum(len(role.full) for role in there), sum(len(role.places) for role in there)
    return _("%(n)s of %(all)s full") % {"n": number(full), "all": number(among)}
