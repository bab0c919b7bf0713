"""The processes of which the overview needs the details: everybody's would be most of what a large fleet reports."""

from __future__ import annotations

from collections.abc import Mapping

from poolmgr.control.reporting.beats import Beats
from poolmgr.metrics.seen import Seen

#: Processes whose holders are told, and those that are in somebody's way or blocked.
_OLDEST, _LOCKED = 12, 40


def chosen(beats: Beats, seen: Mapping[str, Seen]) -> set[str]:
    """Those that hold something for longest, and those whose connections wait for locks or are waited for."""
    pids = {session.pid for each in seen.values() for session in each.sessions}
    oldest = sorted(beats.processes, key=lambda beat: -max((pool.oldest_checkout for pool in beat.pools), default=0.0))
    locked = [
        beat.uid for beat in beats.processes if any(not pids.isdisjoint(pool.backend_pids) for pool in beat.pools)
    ]
    return {beat.uid for beat in oldest[:_OLDEST]} | set(locked[:_LOCKED] if pids else ())
