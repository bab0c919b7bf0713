"""History as it is read: periods of a target from samples, in the tier that fits what is asked for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from math import isfinite
from time import time
from typing import Any

from django.db.models import Q
from django.utils import timezone

from poolmgr.conf import conf
from poolmgr.control.access import control_alias
from poolmgr.metrics.packing import unpacked
from poolmgr.metrics.periods import COUNTS, TIMES, Period, Slots, by_window
from poolmgr.metrics.tiers import Tier, fit, tiers
from poolmgr.models import Sample, SampledTotal
from poolmgr.targets.known import known_targets

_GAUGES = ("looks", "used", "idle", "pending", "used_most", "pending_most", "full", "capacity", "processes")


@dataclass(frozen=True, slots=True)
class Past:
    """Of a target from ``begin`` to ``end``, in seconds since the epoch: periods of ``step`` seconds, oldest first, without
    those of which nothing is known. The last one may have only begun."""

    target: str
    role: str
    begin: float
    end: float
    step: float
    periods: tuple[Period, ...]


def moment(seconds: float) -> datetime:
    """As aware as the site's own times are."""
    return datetime.fromtimestamp(seconds, timezone.now().tzinfo)


def past(target: str, begin: float, end: float, role: str = "") -> Past:
    """Of all roles together, or of one. Raises ``django.db.Error``."""
    found = tiers(conf().SAMPLE_INTERVAL, conf().SAMPLE_RETENTION)
    tier = fit(found, time() - begin, end - begin)
    finer = tuple(takewhile(lambda each: each is not tier, found))
    rows = Sample.objects.using(control_alias()).filter(target=target)
    if role:
        rows = rows.filter(role=role)
    rows = rows.filter(_reach(tier, finer, begin, end)).order_by("at", "role")
    step = tier.step
    steps = {each.number: each.step for each in found}
    parts = _once(((row.role, row.tier, period_of(row, step)) for row in rows if row.tier in steps), steps)
    return Past(target, role, begin, end, step, by_window(parts, step))


def targets_with_past() -> tuple[str, ...]:
    """Targets of which there may be some. Raises ``django.db.Error``."""
    sampled = SampledTotal.objects.using(control_alias()).values_list("target", flat=True).distinct()
    return tuple(sorted({*sampled, *known_targets()}))


def has_past() -> bool:
    """Whether there is any history at all. Raises ``django.db.Error``."""
    return Sample.objects.using(control_alias()).exists()


def _reach(tier: Tier, finer: tuple[Tier, ...], begin: float, end: float) -> Q:
    """Rows of ``tier``, and finer ones of the time that has none of it yet."""
    within = Q(at__gte=moment(begin - tier.step), at__lte=moment(end))
    reach = Q(tier=tier.number) & within
    for each, above in zip(finer, (*finer, tier)[1:], strict=True):
        reach |= Q(tier=each.number, at__gte=moment(time() - 2 * above.step)) & within
    return reach


def _once(rows: Iterable[tuple[str, int, Period]], steps: dict[int, float]) -> list[tuple[str, Period]]:
    """Each stretch of time by its coarsest rows alone."""
    by_tier: dict[int, list[tuple[str, Period]]] = {}
    for role, tier, period in rows:
        by_tier.setdefault(tier, []).append((role, period))
    kept: list[tuple[str, Period]] = []
    covered = 0.0
    for tier, parts in sorted(by_tier.items(), reverse=True):
        kept += [part for part in parts if part[1].at >= covered]
        covered = max(covered, parts[-1][1].at + steps[tier])
    return kept


def period_of(row: Sample, step: float) -> Period:
    """What a row says, as far as it can be: a row can be made in SQL too."""
    gauges: dict[str, Any] = {name: _number(getattr(row, name)) for name in _GAUGES}
    times: dict[str, Any] = {name: unpacked(getattr(row, name)) for name in TIMES}
    slots = Slots(row.server_used, row.server_most, row.server_ours) if row.server_used is not None else None
    return Period(
        row.at.timestamp(),
        step,
        **gauges,
        seconds=_number(row.seconds) if row.seconds is not None else None,
        **{name: getattr(row, name) for name in COUNTS},
        **times,
        slots=slots,
    )


def _number(value: float) -> float:
    # Whole where it was: a float of what is no float would be another text.
    return max(0, value) if isfinite(value) else 0
