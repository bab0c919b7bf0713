"""The fleet as one picture: every live process, and every target summed over them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import isfinite
from time import time

from django.db.utils import Error as DatabaseError
from django.utils import timezone

from poolmgr.control.access import control_alias, sentence_of, sheltered
from poolmgr.control.desired import follow, label, read_profiles
from poolmgr.control.reporting.beats import Beats, read_beats
from poolmgr.control.sharing.share import FLOOR
from poolmgr.control.store.reading import Unread
from poolmgr.exceptions import ConfigurationError
from poolmgr.metrics.health import STATES, Checked, Figures, Verdict, judge, still_refused, worst
from poolmgr.metrics.histogram import Distribution, merge
from poolmgr.metrics.snapshot import PoolSnapshot, ProcessBeat
from poolmgr.models import HealthCheck, PoolProfile
from poolmgr.pools.spec import PoolSpec
from poolmgr.targets.known import known_targets, likely_kind_of

Profiles = tuple[PoolProfile, ...]

#: Processes with unreadable reports that a sentence names.
_NAMED = 3
#: Seconds between checks where no pool tells.
_CHECKED = PoolSpec().health_check_interval
#: What is said of a target without pools: where nobody has one open, and where nobody knows.
NOBODY, UNREAD = "No live process has this pool open.", "The fleet can't be read."


@dataclass(frozen=True, slots=True)
class TargetView:
    """A target over all live processes. Gauges are sums; ``wait``, ``use``, ``timeouts`` and ``refused`` (transactions, by
    statement mode) are of the last minute.

    ``capacity`` is what all processes may open now, ``max_size`` the largest of a single one. ``applied`` counts the
    processes that follow the newest settings, and all of them. ``paused`` is true when any process is. ``pins`` counts,
    by reason, the returns of connections that session state had tied to their borrower, since the pools were made.
    ``means`` are of the last minute, "wait" and "use" in seconds, of a server that tells no quantiles.
    ``of_pools`` is the verdict on the pools alone, ``verdict`` the worse of it and of the last health check, unless that
    is not ``health_fresh``.
    """

    target: str
    kind: str
    address: str
    processes: int
    idle: int
    used: int
    pending: int
    opening: int
    capacity: int
    max_size: int
    oldest_checkout: float
    timeouts: int
    refused: int
    checkouts: int
    wait: Distribution
    use: Distribution
    applied: tuple[int, int]
    profiles: tuple[str, ...]
    verdict: Verdict
    of_pools: Verdict
    last_health: Checked | None
    health_fresh: bool
    paused: bool
    pins: dict[str, int]
    means: dict[str, float]


@dataclass(frozen=True, slots=True)
class Fleet:
    """``store`` names where the beats were read, and is empty where none could be read; ``store_error`` says what could
    not be read, and why. ``unread`` are live processes of whom nothing else is known."""

    processes: tuple[ProcessBeat, ...]
    targets: tuple[TargetView, ...]
    store: str
    store_error: str
    at: float
    unread: tuple[Unread, ...] = ()

    @property
    def unread_error(self) -> str:
        """A sentence that names the processes whose reports can't be read, or ""."""
        if not self.unread:
            return ""
        named = "; ".join(f"{each.uid}: {each.why}" for each in self.unread[:_NAMED])
        rest = f"; and {len(self.unread) - _NAMED} more" if len(self.unread) > _NAMED else ""
        reports = "report" if len(self.unread) == 1 else "reports"
        return f"{len(self.unread)} {reports} can't be read, and what those processes hold is unknown ({named}{rest})."


def read_fleet(beats: Beats | None = None) -> Fleet:
    """Read the fleet store and the control database; either may be down, which the result then says. Never raises.

    ``beats`` are those that the caller has read already.
    """
    beats = read_beats() if beats is None else beats
    profiles: Profiles | None = None
    health: dict[str, Checked] = {}
    error = ""
    try:
        with sheltered():
            profiles = read_profiles()
            health = {target: _values(check) for target in _targets(beats, profiles) if (check := last_check(target))}
    except (DatabaseError, ConfigurationError) as trouble:
        error = sentence_of(trouble)
    return fleet_of(beats, profiles, health, error)


def fleet_of(beats: Beats, profiles: Profiles | None, health: Mapping[str, Checked], error: str) -> Fleet:
    """The picture from what could be read; ``profiles`` is None, and ``error`` says why, where the rows could not."""
    targets = _targets(beats, profiles or ())
    views = tuple(_view(target, beats, profiles, health.get(target)) for target in targets)
    errors = dict.fromkeys((*beats.errors, *((error,) if error else ())))
    return Fleet(beats.processes, views, beats.store, " ".join(errors), time(), beats.unread)


def last_check(target: str) -> HealthCheck | None:
    """The newest stored health check of a target. Raises ``django.db.Error``."""
    return HealthCheck.objects.using(control_alias()).filter(target=target).order_by("-at", "-id").first()


def _values(check: HealthCheck) -> Checked:
    """What the row says, as far as it can be: a row can be made in SQL too."""
    values = {each.name: getattr(check, each.name) for each in fields(Checked)}
    if values["state"] not in STATES:
        values["state"] = "unknown"
    odd = [name for name, value in values.items() if isinstance(value, float) and not isfinite(value)]
    return Checked(**{**values, **dict.fromkeys(odd)})


def _targets(beats: Beats, profiles: Profiles) -> list[str]:
    open_now = {pool.target for beat in beats.processes for pool in beat.pools}
    return sorted(open_now | {profile.target for profile in profiles} | set(known_targets()))


def _view(target: str, beats: Beats, profiles: Profiles | None, health: Checked | None) -> TargetView:
    owners = [(beat, pool) for beat in beats.processes for pool in beat.pools if pool.target == target]
    pools = [pool for _, pool in owners]
    current = sum(_is_current(pool, beat.role, profiles, pools) for beat, pool in owners)
    problems = dict.fromkeys(each for beat, pool in owners for each in (*beat.problems, pool.problem) if each)
    figures = _sum(pools, current, tuple(problems))
    of_pools = judge(figures) if pools else Verdict("unknown", NOBODY if beats.store else UNREAD)
    interval = min((pool.settings.get("health_check_interval", _CHECKED) for pool in pools), default=_CHECKED)
    fresh = health is not None and health.is_fresh(interval, timezone.now())
    told = [Verdict(health.state, health.message)] if health is not None and fresh else []
    return TargetView(
        target=target,
        kind=pools[0].kind if pools else likely_kind_of(target).name,
        address=pools[0].address if pools else "",
        processes=len(pools),
        idle=figures.idle,
        used=figures.used,
        pending=figures.pending,
        opening=figures.opening,
        capacity=figures.capacity,
        max_size=max((pool.max_size for pool in pools), default=0),
        oldest_checkout=max((pool.oldest_checkout for pool in pools), default=0.0),
        timeouts=figures.timeouts,
        refused=figures.refused,
        checkouts=sum(pool.recent_checkouts for pool in pools),
        wait=figures.wait,
        use=merge(pool.recent_use_time for pool in pools),
        applied=(current, len(pools)),
        profiles=tuple(sorted({pool.profile for pool in pools})),
        verdict=worst([of_pools, *told]),
        of_pools=of_pools,
        last_health=health,
        health_fresh=fresh,
        paused=bool(figures.paused),
        means={name: value for pool in pools for name, value in pool.recent_means.items()},
        pins=dict(sum((Counter(pool.pins) for pool in pools), Counter())),
    )


def _sum(pools: list[PoolSnapshot], current: int, problems: tuple[str, ...]) -> Figures:
    budgets = [budget for pool in pools if (budget := pool.settings.get("budget", 0))]
    return Figures(
        used=sum(pool.used for pool in pools),
        idle=sum(pool.idle for pool in pools),
        opening=sum(pool.opening for pool in pools),
        pending=sum(pool.pending for pool in pools),
        capacity=sum(pool.limit or pool.max_size for pool in pools),
        timeouts=sum(pool.recent_timeouts for pool in pools),
        connection_timeout=min((pool.connection_timeout for pool in pools), default=0.0),
        wait=merge(pool.recent_wait_time for pool in pools),
        pools=len(pools),
        paused=sum(pool.status == "paused" for pool in pools),
        closed=sum(pool.status == "closed" for pool in pools),
        last_error=max(pools, key=lambda pool: pool.last_error_at).last_error if pools else "",
        refused=sum(still_refused(pool) for pool in pools),
        behind=len(pools) - current,
        problems=problems,
        budget=min(budgets, default=0),
        held=sum(pool.size for pool in pools if pool.settings.get("budget")),
        floors=(len(budgets), FLOOR),
    )


def _is_current(pool: PoolSnapshot, role: str, profiles: Profiles | None, pools: list[PoolSnapshot]) -> bool:
    if profiles is None:
        # The rows can't be read: the newest revision that any process follows has to do.
        return pool.revision == max(each.revision for each in pools if each.profile == pool.profile)
    profile = follow(profiles, role).get(pool.target)
    if profile is None:
        return pool.revision == 0 and pool.profile == "bootstrap"
    if (pool.profile, pool.revision) != (label(profile), profile.revision):
        return False
    # An edit in SQL changes the content and not the revision.
    return pool.settings == profile.values()
