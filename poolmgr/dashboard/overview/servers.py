"""Who has the slots of each server: ours by target, others by name, free, reserved."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from django.utils.translation import gettext as _

from poolmgr.control.reporting.views import TargetView
from poolmgr.dashboard.lines.server import called
from poolmgr.dashboard.words.present import ago, number, share
from poolmgr.dashboard.words.verdicts import Said
from poolmgr.metrics.seen import Seen

#: Shades of what is ours, and of what is not; what more there is has the last one.
_OURS, _OTHERS = 4, 3


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a server's slots; ``look`` names its colour, x and width are percentages."""

    look: str
    label: str
    count: str
    x: str
    width: str


@dataclass(frozen=True, slots=True)
class ServerSlots:
    """``old`` says that nobody knows whether it is so still."""

    name: str
    used: str
    of: str
    free: str
    tight: bool
    old: bool
    seen: str
    pieces: tuple[Piece, ...]
    text: str


def server_slots(found: Sequence[tuple[TargetView, Said]], now: float, most: int = 6) -> tuple[ServerSlots, ...]:
    """The fullest first, one for each server however many targets lead there."""
    by_place: dict[str, TargetView] = {}
    for view, _said in found:
        if view.seen and view.seen.most and view.processes:
            place = view.address.partition("/")[0]
            kept = by_place.get(place)
            if kept is None or kept.seen is None or kept.seen.at < view.seen.at:
                by_place[place] = view
    made = [(view.seen.free, _slots(place, view, view.seen, now)) for place, view in by_place.items() if view.seen]
    return tuple(slots for _free, slots in sorted(made, key=lambda each: each[0])[:most])


def _slots(place: str, view: TargetView, seen: Seen, now: float) -> ServerSlots:
    parts = list(_parts(seen))
    whole = max(seen.most, sum(count for _look, _label, count in parts))
    pieces, x = [], 0
    for look, label, count in parts:
        pieces.append(Piece(look, label, number(count), share(x, whole), share(count, whole)))
        x += count
    room = seen.most - seen.reserved
    return ServerSlots(
        name=place,
        used=number(seen.used),
        of=number(room),
        free=number(seen.free),
        tight=seen.free * 10 < room,
        old=not view.seen_now,
        seen=ago(now - seen.at),
        pieces=tuple(pieces),
        text="; ".join(f"{piece.label}: {piece.count}" for piece in pieces),
    )


def _parts(seen: Seen) -> Iterator[tuple[str, str, int]]:
    ours = sorted(seen.ours.items(), key=lambda each: -each[1])
    yield from _shaded("ours", ours, _OURS)
    named = [(called(each), each.number) for each in seen.strangers]
    yield from _shaded("theirs", named, _OTHERS)
    if rest := seen.others - sum(count for _name, count in named):
        yield "theirs-2", _("others"), max(0, rest)
    # The console's, and those that look.
    if (outside := seen.used - sum(seen.ours.values()) - max(seen.others, sum(count for _name, count in named))) > 0:
        yield f"ours-{_OURS - 1}", _("ours outside pools"), outside
    yield "free", _("free"), seen.free
    if seen.reserved:
        yield "reserved", _("reserved"), seen.reserved


def _shaded(look: str, parts: Iterable[tuple[str, int]], shades: int) -> Iterator[tuple[str, str, int]]:
    for index, (label, count) in enumerate(parts):
        yield f"{look}-{min(index, shades - 1)}", label, count
