"""Use of a target's connections by view, task and command: a line each, and what follows for the one that holds the most."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.translation import gettext as _

from poolmgr.control.reporting.fleet import Fleet
from poolmgr.control.reporting.uses import label_of, used_by
from poolmgr.dashboard.words.present import DASH, Figure, duration, number, share, timed
from poolmgr.metrics.uses import Spent, Use


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a line's bar; ``x`` and ``width`` are percentages for SVG, of what the first line holds."""

    kind: str
    label: str
    told: str
    x: str
    width: str


@dataclass(frozen=True, slots=True)
class Line:
    """One label's last ten minutes, and what it held since its processes began; ``text`` says the bar in words."""

    kind: str
    label: str
    count: str
    held: Figure
    p95: Figure
    sql: Figure
    kept: Figure
    elsewhere: Figure
    since_start: Figure
    parts: tuple[Part, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Uses:
    """``splits`` says whether the lines have parts; ``legend`` has a part of each kind."""

    lines: tuple[Line, ...]
    worst: str
    splits: bool
    legend: tuple[Part, ...]


def uses_of(target: str, fleet: Fleet) -> Uses:
    """For ``poolmgr/uses.html``, as ``uses``."""
    used = used_by(target, fleet.processes, duration)
    longest = max((use.recent.held for use in used.uses), default=0.0)
    lines = tuple(_line(use, longest) for use in used.uses)
    kinds = ("sql", "kept", "elsewhere") if used.splits else ("held",)
    legend = tuple(Part(kind, _words(kind), "", "0%", "0%") for kind in kinds)
    return Uses(lines, used.worst, used.splits, legend)


def _line(use: Use, longest: float) -> Line:
    spent = use.recent
    parts = _parts(spent, use.splits, longest)
    return Line(
        kind=_kind(use.kind),
        label=label_of(use),
        count=number(spent.count),
        held=timed(spent.held),
        p95=timed(use.times.quantile(0.95)),
        sql=timed(spent.sql if use.splits else None),
        kept=timed(spent.kept if use.splits else None),
        elsewhere=timed(spent.elsewhere if use.splits else None),
        since_start=timed(use.all.held),
        parts=parts,
        text=", ".join(f"{part.label} {part.told}" for part in parts) or DASH,
    )


def _parts(spent: Spent, splits: bool, longest: float) -> tuple[Part, ...]:
    known = {"sql": spent.sql, "kept": spent.kept, "elsewhere": spent.elsewhere} if splits else {"held": spent.held}
    made, x = [], 0.0
    for kind, seconds in known.items():
        made.append(Part(kind, _words(kind), duration(seconds), share(x, longest), share(seconds, longest)))
        x += seconds
    return tuple(made)


def _words(kind: str) -> str:
    return {
        "sql": _("SQL"),
        "kept": _("idle in transaction"),
        "elsewhere": _("elsewhere"),
        "held": _("held"),
    }[kind]


def _kind(kind: str) -> str:
    return {"view": _("view"), "task": _("task"), "command": _("command")}.get(kind, "")
