"""What shorter times lead to: pure rules, as in ``sizing.py``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from poolmgr.control.editing.consequences import CONFIRM, INFO, Consequence
from poolmgr.control.editing.outlook import Outlook, number, seconds
from poolmgr.metrics.histogram import merge
from poolmgr.metrics.snapshot import PoolSnapshot


def impatient(o: Outlook) -> Iterator[Consequence]:
    """How many of the last minute's requests a shorter connection_timeout would have failed."""
    for role, before, after, members in o.changing("connection_timeout"):
        new = after.connection_timeout
        if new >= before.connection_timeout:
            continue
        pools = [member.pool for member in members]
        if any(pool.recent_means for pool in pools):
            yield from _by_means(role, pools, new)
            continue
        waits = merge(pool.recent_wait_time for pool in pools)
        # Those that failed as it was are none of the edit's.
        failed = max(0, ceil(waits.above(new)) - sum(pool.recent_timeouts for pool in pools))
        said = {"role": role, "new": seconds(new), "n": number(failed), "all": number(waits.count)}
        if failed:
            sentence = ngettext(
                "%(role)s: of the last minute's %(all)s requests %(n)s waited longer than %(new)s, and would have failed.",
                "%(role)s: of the last minute's %(all)s requests %(n)s waited longer than %(new)s, and would have failed.",
                failed,
            )
            p95 = waits.quantile(0.95) or 0.0
            # As a share: the number grows while the same goes on.
            share = round(100 * failed / max(1, waits.count))
            yield Consequence("impatient", CONFIRM if p95 > new else INFO, sentence % said, role, share)
        elif waits.count:
            sentence = _("%(role)s: none of the last minute's %(all)s requests waited longer than %(new)s.")
            yield Consequence("impatient", INFO, sentence % said, role)


def _by_means(role: str, pools: Sequence[PoolSnapshot], new: float) -> Iterator[Consequence]:
    mean = max(pool.recent_means.get("wait", 0.0) for pool in pools)
    sentence = _("%(role)s: requests wait for %(mean)s on average; how many wait longer than %(new)s is unknown.")
    said = {"role": role, "mean": f"{mean:.2g} s", "new": seconds(new)}
    yield Consequence("impatient", CONFIRM if mean > new else INFO, sentence % said, role)


def crowded(o: Outlook) -> Iterator[Consequence]:
    """Who waits now that a smaller max_waiting would have failed at once."""
    for role, _before, after, members in o.changing("max_waiting"):
        most = after.max_waiting
        failed = sum(max(0, member.pool.pending - most) for member in members) if most else 0
        if failed:
            waiting = sum(member.pool.pending for member in members)
            said = {"role": role, "most": number(most), "n": number(failed), "all": number(waiting)}
            sentence = _(
                "%(role)s: %(all)s wait now; with max_waiting %(most)s in each process %(n)s would have failed at once."
            )
            yield Consequence("crowded", CONFIRM, sentence % said, role, failed)


def ageing(o: Outlook) -> Iterator[Consequence]:
    """How many connections may be too old by a shorter max_lifetime: none is older than its process."""
    for role, before, after, members in o.changing("max_lifetime"):
        new = after.max_lifetime
        if not _is_shorter(before.max_lifetime, new):
            continue
        there = sum(member.pool.idle + member.pool.used for member in members)
        old = sum(member.pool.idle + member.pool.used for member in members if member.age > new)
        said = {"role": role, "new": seconds(new), "n": number(old), "all": number(there)}
        if old:
            sentence = _(
                "%(role)s: up to %(n)s of %(all)s connections are older than %(new)s, and are replaced one by one, those in "
                "use when they come back."
            )
        else:
            sentence = _("%(role)s: none of %(all)s connections is older than %(new)s yet.")
        yield Consequence("ageing", INFO, sentence % said, role)


def idling(o: Outlook) -> Iterator[Consequence]:
    """How many connections a shorter idle_timeout may close: those that are idle, above min_size."""
    for role, before, after, members in o.changing("idle_timeout"):
        new = after.idle_timeout
        if not _is_shorter(before.idle_timeout, new):
            continue
        pools = [member.pool for member in members]
        spare = sum(min(pool.idle, max(0, pool.idle + pool.used - after.min_size)) for pool in pools)
        said = {"role": role, "new": seconds(new), "n": number(spare), "min": number(after.min_size)}
        if spare:
            sentence = ngettext(
                "%(role)s: up to %(n)s idle connection above min_size %(min)s is closed once unused for %(new)s.",
                "%(role)s: up to %(n)s idle connections above min_size %(min)s are closed once unused for %(new)s.",
                spare,
            )
        else:
            sentence = _("%(role)s: no connection is idle above min_size %(min)s, so that none is closed now.")
        yield Consequence("idling", INFO, sentence % said, role)


def _is_shorter(before: float, after: float) -> bool:
    """0 is for ever."""
    return bool(after) and (not before or after < before)
