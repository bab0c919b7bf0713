"""Samples grow coarser as they age: periods of a minute, ten minutes and an hour are made of the finer ones, as each ends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from time import time

from poolmgr.conf import conf
from poolmgr.control.reporting.past import moment, period_of
from poolmgr.metrics.packing import packed
from poolmgr.metrics.periods import COUNTS, TIMES, Period, begin, in_a_row
from poolmgr.metrics.tiers import ROLLED, Tier, tiers
from poolmgr.models import Sample

#: The most that a column of whole numbers holds.
_MOST, _MOST_COUNTED = 2**31 - 1, 2**62


def roll_up(alias: str, since: float, until: float) -> None:
    """Make the coarser rows of all windows that ended as the samples reached from ``since`` to ``until``, in seconds since
    the epoch, and forget what is too old. In the transaction in which the samples are made. Raises ``django.db.Error``."""
    for tier in ROLLED:
        first, last = begin(since, tier.step), begin(until, tier.step)
        if first >= last:
            return
        Sample.objects.using(alias).bulk_create(_rolled(alias, tier, first, last), ignore_conflicts=True)
        if tier is ROLLED[1]:
            forget(alias)


def forget(alias: str) -> None:
    """Delete what its tier keeps no longer. Raises ``django.db.Error``."""
    for tier in tiers(conf().SAMPLE_INTERVAL, conf().SAMPLE_RETENTION):
        Sample.objects.using(alias).filter(tier=tier.number, at__lt=moment(time() - tier.keep)).delete()


def row_of(tier: int, target: str, role: str, period: Period) -> Sample:
    """As far as its columns hold it."""
    slots = period.slots
    whole = {name: _within(getattr(period, name)) for name in _WHOLE}
    counted = {name: min(getattr(period, name), _MOST_COUNTED) for name in COUNTS}
    return Sample(
        tier=tier,
        at=moment(period.at),
        target=target,
        role=role,
        **{name: min(getattr(period, name), float(_MOST)) for name in ("used", "idle", "pending")},
        **whole,
        seconds=period.seconds,
        **counted,
        **{name: packed(getattr(period, name)) for name in TIMES},
        server_used=_within(slots.used) if slots else None,
        server_most=_within(slots.most) if slots else None,
        server_ours=_within(slots.ours) if slots else None,
    )


_WHOLE = ("looks", "used_most", "pending_most", "full", "capacity", "processes")


def _within(number: int | None) -> int | None:
    return None if number is None else min(number, _MOST)


def _rolled(alias: str, tier: Tier, first: float, last: float) -> Iterator[Sample]:
    """In the order of the index, since a window's rows of all targets lie together there."""
    finer = Sample.objects.using(alias).filter(tier=tier.number - 1, at__gte=moment(first), at__lt=moment(last))
    parts = (
        (row.target, row.role, period_of(row, tier.step)) for row in finer.order_by("at", "target", "role").iterator()
    )
    for window, inside in groupby(parts, key=lambda part: begin(part[2].at, tier.step)):
        for (target, role), periods in _by_place(inside).items():
            yield row_of(tier.number, target, role, in_a_row(window, tier.step, periods))


def _by_place(parts: Iterable[tuple[str, str, Period]]) -> dict[tuple[str, str], list[Period]]:
    found: dict[tuple[str, str], list[Period]] = {}
    for target, role, period in parts:
        found.setdefault((target, role), []).append(period)
    return found
