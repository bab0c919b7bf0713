"""Whether the server, and the budget, have room for what a profile would let the fleet open."""

from __future__ import annotations

from datetime import timedelta

from django.db.utils import Error as DatabaseError
from django.utils import timezone

from poolmgr.control.reporting.fleet import last_check, read_fleet
from poolmgr.control.reporting.health import check_target
from poolmgr.control.sharing.share import FLOOR
from poolmgr.metrics.rules import unkept_budget
from poolmgr.models import HealthCheck, PoolProfile
from poolmgr.targets.known import known_targets, likely_kind_of

#: A stored check this old says too little of the server's present load.
_FRESH = timedelta(minutes=5)
#: Seconds that a form may wait for an answer of the server.
_PROBE = 2.0


def server_room_warning(profile: PoolProfile) -> str:
    """Sentences with the figures, when all processes together could open more than the server leaves free, or than the
    profile's budget; else "".

    Nothing is said of the server when it does not tell, nor of one that keeps its own pools or stands behind a pooler, which
    bounds by settings of its own what reaches it; and to a budget by itself.
    """
    if likely_kind_of(profile.target).elsewhere:
        return ""
    followers, rest = _processes(profile)
    unkept = unkept_budget(profile.budget, followers, FLOOR)
    said = (f"{unkept}; raise it or run fewer." if unkept else "", _of_the_server(profile, followers, rest))
    return " ".join(filter(None, said))


def _of_the_server(profile: PoolProfile, followers: int, rest: int) -> str:
    check = _figures(profile.target)
    if check is None or check.server_max is None or check.server_used is None or check.behind_pooler:
        return ""
    reserved, others = check.server_reserved or 0, max(0, check.server_used - (check.ours or 0))
    room = check.server_max - reserved - others
    wanted = followers * profile.max_size + rest
    sum_said = f"{followers} {'process' if followers == 1 else 'processes'} × {profile.max_size}"  # noqa: RUF001
    if rest:
        sum_said += f" + {rest} of processes that follow other profiles"
    if profile.budget and profile.budget < wanted:
        wanted, sum_said = profile.budget, f"The budget of {profile.budget}"
    else:
        sum_said += f" = {wanted} connections"
    if wanted <= room:
        return ""
    return (
        f"{sum_said} is more than the {room} that the server leaves free "
        f"({check.server_max} in all, {reserved} reserved, {others} used by others)."
    )


def _figures(target: str) -> HealthCheck | None:
    try:
        check = last_check(target)
    except DatabaseError:
        check = None
    if check is not None and check.server_max is not None and timezone.now() - check.at < _FRESH:
        return check
    return check_target(target, timeout=_PROBE) if target in known_targets() else None


def _processes(profile: PoolProfile) -> tuple[int, int]:
    """How many processes would follow the profile, at least one, and what the others may open together."""
    followers, rest = 0, 0
    for beat in read_fleet().processes:
        for pool in beat.pools:
            if pool.target == profile.target:
                if profile.role in ("", beat.role):
                    followers += 1
                else:
                    rest += pool.max_size
    return max(1, followers), rest
