"""The last hour of each target in one strip: used, limit, waiting, failed, and what was wrong."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from time import time
from typing import Any, NamedTuple

from django.db.models import F, Q, Sum
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from poolmgr.control.access import control_alias
from poolmgr.control.reporting.past import moment
from poolmgr.control.reporting.spoken import spoken
from poolmgr.dashboard.drawing.paths import Level, Scale, band, line
from poolmgr.dashboard.drawing.paths import number as coordinate
from poolmgr.dashboard.words.present import number
from poolmgr.metrics.periods import begin
from poolmgr.metrics.tiers import ROLLED
from poolmgr.models import Episode, Sample

WIDTH, HEIGHT = 240, 36
#: What a strip shows, and one step of it, in seconds.
_HOUR, _STEP = 3600.0, ROLLED[0].step
#: Where the figures stand, in pixels: episodes are above them.
_TOP, _BOTTOM = 6.0, 35.0
#: Episodes of all targets that are looked at.
_EPISODES = 500


@dataclass(frozen=True, slots=True)
class Bar:
    """An episode: ``x`` and ``width`` in pixels, its ``state`` and what it says."""

    x: str
    width: str
    state: str
    title: str


@dataclass(frozen=True, slots=True)
class Strip:
    """Paths of SVG in a box of ``WIDTH`` by ``HEIGHT`` pixels; ``failed`` are where in it requests failed.

    ``text`` says the same in words. A target of which nothing is known has no paths, and ``is_empty``.
    """

    target: str
    used: str
    limit: str
    waiting: str
    failed: tuple[str, ...]
    bars: tuple[Bar, ...]
    text: str
    is_empty: bool
    width: int = WIDTH
    height: int = HEIGHT


class _Minute(NamedTuple):
    at: float
    used: int
    limit: int
    waiting: int
    failed: int


def strips(targets: Collection[str], episodes: bool = True) -> dict[str, Strip]:
    """One for each of ``targets``, by two queries however many they are; without ``episodes`` for whoever may not see
    events. Raises ``django.db.Error``."""
    now = time()
    since = begin(now, _STEP) - _HOUR + _STEP
    minutes = _minutes(targets, since, now)
    bars = _bars(targets, since, now) if episodes else {}
    return {target: _strip(target, minutes.get(target, ()), bars.get(target, ()), since) for target in targets}


def _minutes(targets: Collection[str], since: float, now: float) -> dict[str, tuple[_Minute, ...]]:
    """By target. The last minutes, as long as they are not rolled up, are of samples themselves."""
    reach = Q(tier=1, at__gte=moment(since)) | Q(tier=0, at__gte=moment(max(since, now - 2 * _STEP)))
    rows = (
        Sample.objects.using(control_alias())
        .filter(reach, target__in=targets)
        .order_by("target", "-tier", "at")
        .values_list("target", "tier", "at")
        .annotate(Sum("used_most"), Sum("capacity"), Sum("pending_most"), failed=Sum(F("timeouts") + F("errors")))
    )
    return {target: _whole(list(of_it)) for target, of_it in groupby(rows, key=lambda row: row[0])}


def _whole(rows: Iterable[tuple[Any, ...]]) -> tuple[_Minute, ...]:
    """Each minute by its rolled up row, else by its samples."""
    found: dict[float, _Minute] = {}
    rolled: set[float] = set()
    for _target, tier, at, used, limit, waiting, failed in rows:  # those that are rolled up first
        start = begin(at.timestamp(), _STEP)
        if tier:
            rolled.add(start)
        elif start in rolled:
            continue
        had = found.get(start, _Minute(start, 0, 0, 0, 0))
        found[start] = _Minute(
            start, max(had.used, used), limit or had.limit, max(had.waiting, waiting), had.failed + failed
        )
    return tuple(found[start] for start in sorted(found))


def _strip(target: str, minutes: tuple[_Minute, ...], bars: tuple[Bar, ...], since: float) -> Strip:
    most = max((max(each.limit, each.used + each.waiting) for each in minutes), default=0)
    scale = Scale(most, _TOP, _BOTTOM)
    at = [(_x(each.at, since), _x(each.at + _STEP, since), each) for each in minutes]
    return Strip(
        target,
        used=band((Level(x, to, each.used) for x, to, each in at), scale),
        limit=line((Level(x, to, each.limit) for x, to, each in at), scale),
        waiting=band((Level(x, to, each.used + each.waiting, each.used) for x, to, each in at), scale),
        failed=tuple(coordinate((x + to) / 2) for x, to, each in at if each.failed),
        bars=bars,
        text=_text(minutes),
        is_empty=not minutes,
    )


def _x(at: float, since: float) -> float:
    return WIDTH * max(0.0, min(1.0, (at - since) / _HOUR))


def _text(minutes: tuple[_Minute, ...]) -> str:
    if not minutes:
        return _("Nothing is known of the last hour.")
    worst = max(minutes, key=lambda each: each.used)
    said = [_("up to %(used)s of %(limit)s in use") % {"used": number(worst.used), "limit": number(worst.limit)}]
    if waiting := max(each.waiting for each in minutes):
        said.append(_("up to %(n)s waiting") % {"n": number(waiting)})
    if failed := sum(each.failed for each in minutes):
        said.append(ngettext("%(n)s request failed", "%(n)s requests failed", failed) % {"n": number(failed)})
    return _("Last hour: %(what)s.") % {"what": ", ".join(said)}


def _bars(targets: Collection[str], since: float, now: float) -> Mapping[str, tuple[Bar, ...]]:
    rows = Episode.objects.using(control_alias()).filter(
        Q(ended_at=None) | Q(ended_at__gte=moment(since)), target__in=targets, began_at__lte=moment(now)
    )
    found: dict[str, list[Bar]] = {}
    for each in rows.order_by("-began_at", "-id")[:_EPISODES]:
        x = _x(each.began_at.timestamp(), since)
        until = _x(each.ended_at.timestamp() if each.ended_at else now, since)
        bar = Bar(
            coordinate(min(x, WIDTH - 2)), coordinate(max(2.0, until - x)), each.state, spoken(each.said("sentence"))
        )
        found.setdefault(each.target, []).append(bar)
    return {target: tuple(reversed(of_it)) for target, of_it in found.items()}
