"""How full the pools of a target are, role by role: room that workers have is none for requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from django.utils.translation import gettext as _

from poolmgr.dashboard.words.present import number, share
from poolmgr.metrics.places import RoleView

#: In their order from left to right.
_KINDS = ("used", "idle", "opening", "headroom")


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a bar; ``x`` and ``width`` are percentages for SVG."""

    kind: str
    label: str
    count: str
    x: str
    width: str


@dataclass(frozen=True, slots=True)
class Bar:
    """One role's pools: ``label`` names it where there are several, ``text`` says all of it in words."""

    label: str
    text: str
    of: str
    full: str
    waiting: str
    segments: tuple[Segment, ...]


def bars(roles: Sequence[RoleView]) -> tuple[Bar, ...]:
    """The worst role first."""
    return tuple(_bar(role, len(roles) > 1) for role in roles)


def legend(shown: Sequence[Bar]) -> tuple[Segment, ...]:
    """What the colours mean, with the counts where there is one bar only: sums over roles are room for nobody."""
    if len(shown) == 1:
        return shown[0].segments
    kinds = {part.kind: replace(part, count="") for bar in shown for part in bar.segments}
    return tuple(kinds[kind] for kind in _KINDS if kind in kinds)


def _bar(role: RoleView, named: bool) -> Bar:
    figures = {
        "used": number(role.used),
        "idle": number(role.idle),
        "headroom": number(max(0, role.capacity - role.used - role.idle - role.opening)),
        "pending": number(role.pending),
    }
    text = _("%(used)s in use, %(idle)s idle, %(headroom)s free to open, %(pending)s waiting") % figures
    full = _("%(n)s of %(all)s full") % {"n": number(len(role.full)), "all": number(len(role.places))}
    return Bar(
        label=role.role if named else "",
        text=f"{role.role}: {text}" if named else text,
        of=_("%(used)s of %(all)s") % {"used": number(role.used), "all": number(role.capacity)},
        full=full if role.full and len(role.places) > 1 else "",
        waiting=number(role.pending) if role.pending else "",
        segments=_segments(role),
    )


def _segments(role: RoleView) -> tuple[Segment, ...]:
    # While a pool shrinks, more may be open than the capacity allows: the bar then spans what is open.
    whole = max(role.capacity, role.used + role.idle + role.opening)
    parts = [
        ("used", _("in use"), role.used),
        ("idle", _("idle"), role.idle),
        ("opening", _("opening"), role.opening),
        ("headroom", _("free to open"), whole - role.used - role.idle - role.opening),
    ]
    segments, x = [], 0
    for kind, label, count in parts:
        if count or kind != "opening":
            segments.append(Segment(kind, label, number(count), share(x, whole), share(count, whole)))
        x += count
    return tuple(segments)
