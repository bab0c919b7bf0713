"""From profile rows to the desired settings of this process."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from poolmgr.control.access import control_alias
from poolmgr.exceptions import InvalidSpec
from poolmgr.models import PoolProfile
from poolmgr.pools.desired import Desired
from poolmgr.targets.known import likely_kind_of


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the rows ask of a role: settings by target, and a sentence for each target whose row can't be used."""

    desired: Mapping[str, Desired] = field(default_factory=dict)
    invalid: Mapping[str, str] = field(default_factory=dict)


def read_profiles() -> tuple[PoolProfile, ...]:
    """All rows. Raises ``django.db.Error``."""
    return tuple(PoolProfile.objects.using(control_alias()).order_by("target", "role"))


def wishes(profiles: tuple[PoolProfile, ...], role: str, last: Mapping[str, Desired]) -> Wishes:
    """The rows that processes of ``role`` follow.

    A row made wrong in SQL stops only its own target, which keeps what it had in ``last``, else its bootstrap settings.
    """
    desired: dict[str, Desired] = {}
    invalid: dict[str, str] = {}
    for target, profile in follow(profiles, role).items():
        try:
            desired[target] = Desired(profile.spec(), label(profile), profile.revision)
        except InvalidSpec as error:
            invalid[target] = str(error)
            if target in last:
                desired[target] = last[target]
    return Wishes(desired, invalid)


def follow(profiles: tuple[PoolProfile, ...], role: str) -> dict[str, PoolProfile]:
    """By target, the row that ``role`` follows: one for the role wins over one for any role; disabled rows don't count."""
    enabled = [profile for profile in profiles if profile.enabled]
    return {
        **{profile.target: profile for profile in enabled if not profile.role},
        **{profile.target: profile for profile in enabled if profile.role == role},
    }


def validation_queries(profiles: tuple[PoolProfile, ...]) -> dict[str, str]:
    """By target, the query by which its health is checked: of the profile for any role, else of the first for one.

    A query that was made wrong in SQL is left out.
    """
    return {
        profile.target: profile.validation_query
        for profile in sorted(profiles, key=lambda profile: profile.role, reverse=True)
        if profile.enabled and not likely_kind_of(profile.target).query_error(profile.validation_query)
    }


def check_intervals(profiles: tuple[PoolProfile, ...]) -> dict[str, float]:
    """By target, the seconds between two health checks: the shortest that an enabled profile asks for.

    A row that was made wrong in SQL asks for nothing.
    """
    asked: dict[str, float] = {}
    for profile in profiles:
        with suppress(InvalidSpec):
            if profile.enabled:
                seconds = profile.spec().health_check_interval
                asked[profile.target] = min(seconds, asked.get(profile.target, seconds))
    return asked


def label(profile: PoolProfile) -> str:
    """How snapshots name the profile in force."""
    return f"profile {profile.pk}"
