"""A target over all processes that have it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.utils import timezone

from poolmgr.control.desired import follow, label
from poolmgr.control.holding import Hold
from poolmgr.control.reporting.beats import Beats
from poolmgr.control.reporting.ours import names
from poolmgr.control.sharing.share import FLOOR
from poolmgr.metrics.blocking import Blocked, blocked
from poolmgr.metrics.details import digest_of
from poolmgr.metrics.figures import Figures, pause_of, place_of, since, still_refused
from poolmgr.metrics.health import STATES, Checked, Verdict, judge, worst
from poolmgr.metrics.histogram import Distribution, merge
from poolmgr.metrics.phrases import phrase
from poolmgr.metrics.places import RoleView, by_role
from poolmgr.metrics.rules import JUST
from poolmgr.metrics.seen import Seen, slots
from poolmgr.metrics.snapshot import PoolSnapshot, ProcessBeat
from poolmgr.models import PoolProfile
from poolmgr.pools.spec import PoolSpec
from poolmgr.targets.known import likely_kind_of

Profiles = tuple[PoolProfile, ...]

#: Seconds between checks where no pool tells.
_CHECKED = PoolSpec().health_check_interval
#: Seconds for which what was seen at a server is judged; after that it is what was known last.
_KNOWN = 15.0
#: What is said of a target without pools: where nobody has one open, and where nobody knows.
NOBODY, UNREAD = phrase("No live process has this pool open."), phrase("The fleet can't be read.")


@dataclass(frozen=True, slots=True)
class TargetView:
    """A target over all live processes, and role by role, the worst first.

    Gauges are sums; ``wait``, ``use``, ``timeouts`` and ``refused`` (transactions, by statement mode) are of the last minute.
    ``capacity`` is what all processes may open now, ``max_size`` the largest of a single one. ``applied`` counts the
    processes that follow the newest settings, and all of them. ``paused`` is true when any process is. ``pins`` counts,
    by reason, the returns of connections that session state had tied to their borrower, since the pools were made.
    ``means`` are of the last minute, "wait" and "use" in seconds, of a server that tells no quantiles.
    ``seen`` is what was seen at the server while somebody looks on, which is so still if ``seen_now``, and ``blocked`` those
    holders that wait for locks there.
    ``of_pools`` is the verdict on the pools alone, ``verdict`` the worse of it and of the last health check, unless that
    is not ``health_fresh``.
    """

    target: str
    kind: str
    address: str
    processes: int
    roles: tuple[RoleView, ...]
    idle: int
    used: int
    pending: int
    opening: int
    capacity: int
    max_size: int
    oldest_wait: float
    oldest_checkout: float
    timeouts: int
    last_timeout_at: float
    refused: int
    checkouts: int
    wait: Distribution
    use: Distribution
    applied: tuple[int, int]
    profiles: tuple[str, ...]
    verdict: Verdict
    of_pools: Verdict
    last_health: Checked | None
    seen: Seen | None
    seen_now: bool
    blocked: Blocked | None
    health_fresh: bool
    paused: bool
    pins: dict[str, int]
    means: dict[str, float]


def rank(view: TargetView, state: str) -> tuple[bool, int, str]:
    """By which targets are listed, the worst first: those that nobody uses last, and of equals by name."""
    return not view.processes, -STATES.index(state), view.target


def view_of(
    target: str,
    beats: Beats,
    profiles: Profiles | None,
    health: Checked | None,
    hold: Hold | None,
    seen: Seen | None,
    now: float,
) -> TargetView:
    """One target over the processes of ``beats``; ``now`` is in seconds since the epoch."""
    owners = [(beat, pool) for beat in beats.processes for pool in beat.pools if pool.target == target]
    pools = [pool for _, pool in owners]
    followed = _Followed(target, profiles, pools)
    current = sum(followed.is_current(pool, beat.role) for beat, pool in owners)
    held_up = _blocked(target, beats, [pool for _, pool in owners], seen, now)
    figures = _figures(owners, current, hold, held_up, seen, now)
    of_pools = judge(figures) if pools else Verdict("unknown", NOBODY if beats.store else UNREAD)
    interval = min((pool.number("health_check_interval", _CHECKED) for pool in pools), default=_CHECKED)
    fresh = health is not None and health.is_fresh(interval, timezone.now())
    told = [Verdict(health.state, health.sentence)] if health is not None and fresh else []
    return TargetView(
        target=target,
        kind=pools[0].kind if pools else likely_kind_of(target).name,
        address=pools[0].address if pools else "",
        processes=len(pools),
        roles=figures.roles,
        idle=figures.idle,
        used=figures.used,
        pending=figures.pending,
        opening=figures.opening,
        capacity=figures.capacity,
        max_size=max((pool.max_size for pool in pools), default=0),
        oldest_wait=figures.oldest_wait,
        oldest_checkout=max((pool.oldest_checkout for pool in pools), default=0.0),
        timeouts=figures.timeouts,
        last_timeout_at=max((pool.last_timeout_at for pool in pools), default=0.0),
        refused=figures.refused,
        checkouts=sum(pool.recent_checkouts for pool in pools),
        wait=figures.wait,
        use=merge(pool.recent_use_time for pool in pools),
        applied=(current, len(pools)),
        profiles=tuple(sorted({pool.profile for pool in pools})),
        verdict=worst([of_pools, *told]),
        of_pools=of_pools,
        last_health=health,
        seen=seen,
        seen_now=_now(seen, now),
        blocked=held_up,
        health_fresh=fresh,
        paused=bool(figures.paused),
        means={name: value for pool in pools for name, value in pool.recent_means.items()},
        pins=dict(sum((Counter(pool.pins) for pool in pools), Counter())),
    )


def _figures(
    owners: Sequence[tuple[ProcessBeat, PoolSnapshot]],
    current: int,
    hold: Hold | None,
    held_up: Blocked | None,
    seen: Seen | None,
    now: float,
) -> Figures:
    pools = [pool for _, pool in owners]
    budgets = [int(budget) for pool in pools if (budget := pool.number("budget"))]
    return Figures(
        roles=by_role(place_of(beat.role, f"{beat.host}:{beat.pid}", pool) for beat, pool in owners),
        timeouts=sum(pool.recent_timeouts for pool in pools),
        last_timeout=since(max((pool.last_timeout_at for pool in pools), default=0.0), now),
        connection_timeout=min((pool.connection_timeout for pool in pools), default=0.0),
        wait=merge(pool.recent_wait_time for pool in pools),
        paused=sum(pool.status == "paused" for pool in pools),
        pause=pause_of(pools, hold.author if hold else "", now),
        closed=sum(pool.status == "closed" for pool in pools),
        last_error=max(pools, key=lambda pool: pool.last_error_at).last_error if pools else "",
        refused=sum(still_refused(pool) for pool in pools),
        behind=len(pools) - current,
        problems=tuple(dict.fromkeys(pool.problem for pool in pools if pool.problem)),
        budget=min(budgets, default=0),
        held=sum(pool.size for pool in pools if pool.number("budget")),
        floors=(len(budgets), FLOOR),
        blocked=held_up,
        blocked_where_full=held_up is not None and any(_starves(pool, held_up, now) for pool in pools),
        address=pools[0].address if pools else "",
        slots=slots(seen, now) if seen else "",
    )


def _blocked(target: str, beats: Beats, pools: Sequence[PoolSnapshot], seen: Seen | None, now: float) -> Blocked | None:
    """Those who hold connections of ``pools`` and wait for locks, as long as somebody knows; behind a pooler nobody does."""
    if seen is None or seen.behind_pooler or not seen.sessions or not _now(seen, now):
        return None
    held = {pid for pool in pools for pid in pool.backend_pids}
    return blocked(seen.sessions, held, names(target, beats.processes))


def _now(seen: Seen | None, now: float) -> bool:
    return seen is not None and now - seen.at <= _KNOWN


def _starves(pool: PoolSnapshot, held_up: Blocked, now: float) -> bool:
    asked = pool.pending or since(pool.last_timeout_at, now) <= JUST
    return bool(asked and set(held_up.pids).intersection(pool.backend_pids))


class _Followed:
    """What the pools of one target should follow, which is looked up once for all of a role."""

    def __init__(self, target: str, profiles: Profiles | None, pools: Iterable[PoolSnapshot]) -> None:
        self._target, self._profiles = target, profiles
        self._newest: dict[str, int] = {}
        for pool in pools:
            self._newest[pool.profile] = max(pool.revision, self._newest.get(pool.profile, 0))
        self._of_role = cache(self._look_up)
        self._told = cache(_values_of)

    def is_current(self, pool: PoolSnapshot, role: str) -> bool:
        if self._profiles is None:
            # The rows can't be read: the newest revision that any process follows has to do.
            return pool.revision == self._newest[pool.profile]
        profile = self._of_role(role)
        if profile is None:
            return pool.revision == 0 and pool.profile == "bootstrap"
        if (pool.profile, pool.revision) != (label(profile), profile.revision):
            return False
        # An edit in SQL changes the content and not the revision.
        values, digest = self._told(profile)
        return pool.digest == digest if pool.digest else pool.settings == values

    def _look_up(self, role: str) -> PoolProfile | None:
        return follow(self._profiles or (), role).get(self._target)


def _values_of(profile: PoolProfile) -> tuple[dict[str, Any], str]:
    values = profile.values()
    return values, digest_of(values)
