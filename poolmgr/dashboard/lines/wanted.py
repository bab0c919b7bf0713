"""What every process should follow, to hold the fleet's reports against."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.translation import gettext as _

from poolmgr.conf import ROLES
from poolmgr.control.desired import follow, label, read_profiles
from poolmgr.control.holding import holds
from poolmgr.dashboard.addresses import settings_address
from poolmgr.models import PoolProfile
from poolmgr.targets.known import led_targets


@dataclass(frozen=True, slots=True)
class Source:
    """Where a target's settings come from, and where to edit them."""

    text: str
    address: str


class Wanted:
    """The profiles, read once for a page; not ``known`` while their rows can't be read."""

    def __init__(self, known: bool = True) -> None:
        self.known = known
        self._rows = read_profiles() if known else ()
        held = holds() if known and led_targets() else {}
        #: Targets and their databases, "" for all, of which a kill holds.
        self.killed = frozenset(place for place, hold in held.items() if hold.is_kill)
        self._by_role = {role: follow(self._rows, role) for role in ROLES}

    def settings(self, target: str, role: str) -> tuple[str, int] | None:
        """The label and the revision of what a process of ``role`` should follow; None where that is not known."""
        if not self.known:
            return None
        profile = self._by_role.get(role, {}).get(target)
        return ("bootstrap", 0) if profile is None else (label(profile), profile.revision)

    def sources(self, target: str) -> tuple[Source, ...]:
        if not self.known:
            return ()
        found = tuple(_source(row) for row in self._rows if row.enabled and row.target == target)
        if all(target in self._by_role[role] for role in ROLES):
            return found
        return (*found, Source(_("bootstrap settings"), settings_address(target, "")))

    def profiles(self, target: str) -> tuple[Source, ...]:
        """Every profile of a target, in force or not."""
        return tuple(_source(row) for row in self._rows if row.target == target)


def settings_label(settings: str, revision: int) -> str:
    """Such as “profile 3 r5”, or “bootstrap” where no profile rules."""
    if not revision:
        return _called(settings)
    return _("%(profile)s r%(revision)s") % {"profile": _called(settings), "revision": revision}


def _called(settings: str) -> str:
    """As the page has what a snapshot names in English."""
    kind, _blank, number = settings.partition(" ")
    if kind == "profile" and number.isdecimal():
        return _("profile %(number)s") % {"number": number}
    return _("bootstrap") if settings == "bootstrap" else settings


def _source(profile: PoolProfile) -> Source:
    text = _("%(label)s for %(role)s, revision %(revision)s") % {
        "label": _called(label(profile)),
        "role": profile.get_role_display(),
        "revision": profile.revision,
    }
    return Source(text, settings_address(profile.target, profile.role))
