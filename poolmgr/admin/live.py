"""What the fleet makes of each profile now."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from poolmgr.conf import ROLES
from poolmgr.control.desired import follow, label, read_profiles
from poolmgr.control.reporting.fleet import Fleet
from poolmgr.models import PoolProfile
from poolmgr.targets.known import known_targets

#: Stands where nobody measured anything.
DASH = "\N{EN DASH}"


@dataclass(frozen=True, slots=True)
class Live:
    """The pools that should follow a profile, summed; ``applied`` of ``pools`` do so at its newest revision.

    ``gone`` says that the settings do not name its target.
    """

    used: int = 0
    idle: int = 0
    pending: int = 0
    pools: int = 0
    applied: int = 0
    enabled: bool = True
    gone: bool = False

    @property
    def state(self) -> str:
        if not self.enabled or not self.pools:
            return "unknown"
        return "ok" if self.applied == self.pools else "warning"

    @property
    def sentence(self) -> str:
        if not self.enabled:
            return _("not enabled")
        if not self.pools:
            return _("target gone") if self.gone else _("no process yet")
        return _("applied %(n)s of %(all)s") % {"n": self.applied, "all": self.pools}

    @property
    def figures(self) -> str:
        return _("%(used)s in use, %(idle)s idle, %(pending)s waiting") % {
            "used": self.used,
            "idle": self.idle,
            "pending": self.pending,
        }


def live_states(fleet: Fleet, profiles: Iterable[PoolProfile]) -> dict[int, Live]:
    """By primary key, what becomes of ``profiles``."""
    rows = read_profiles()
    followed = {role: follow(rows, role) for role in ROLES}
    known = known_targets()
    found: dict[int, Live] = {
        profile.pk: Live(enabled=profile.enabled, gone=profile.target not in known) for profile in profiles
    }
    for beat in fleet.processes:
        for pool in beat.pools:
            profile = followed.get(beat.role, {}).get(pool.target)
            if profile is None or (before := found.get(profile.pk)) is None:
                continue
            found[profile.pk] = Live(
                used=before.used + pool.used,
                idle=before.idle + pool.idle,
                pending=before.pending + pool.pending,
                pools=before.pools + 1,
                applied=before.applied + ((pool.profile, pool.revision) == (label(profile), profile.revision)),
            )
    return found


def state_icon(state: str) -> SafeString:
    return SafeString(render_to_string("poolmgr/state.html", {"state": state}).strip())
