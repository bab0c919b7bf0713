"""The fleet as one picture: every live process, and every target summed over them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from math import isfinite
from time import time
from types import MappingProxyType

from django.db.utils import Error as DatabaseError

from poolmgr.control.access import control_alias, sentence_of, sheltered
from poolmgr.control.desired import read_profiles
from poolmgr.control.holding import Hold, holds
from poolmgr.control.reporting.beats import Beats, read_beats
from poolmgr.control.reporting.troubles import Trouble, troubles
from poolmgr.control.reporting.views import Profiles, TargetView, view_of
from poolmgr.control.store.reading import Unread
from poolmgr.exceptions import ConfigurationError
from poolmgr.metrics.health import STATES, Checked
from poolmgr.metrics.phrases import counted, joined, phrase
from poolmgr.metrics.seen import Seen
from poolmgr.metrics.snapshot import ProcessBeat
from poolmgr.models import HealthCheck
from poolmgr.targets.known import known_targets

#: Processes with unreadable reports that a sentence names.
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Fleet:
    """``store`` names where the beats were read, and is empty where none could be read; ``store_error`` says what could
    not be read, and why. ``unread`` are live processes of whom nothing else is known, or, where they are among ``processes``
    too, no details. ``troubles`` are what is wrong with processes whatever the target, the worst first."""

    processes: tuple[ProcessBeat, ...]
    targets: tuple[TargetView, ...]
    store: str
    store_error: str
    at: float
    unread: tuple[Unread, ...] = ()
    troubles: tuple[Trouble, ...] = ()

    def why_unread(self, uid: str) -> str:
        """Why the report of a process can't be read, or not all of it; "" where it can."""
        return next((each.why for each in self.unread if each.uid == uid), "")

    @property
    def unread_error(self) -> str:
        """A sentence that names the processes whose reports can't be read, or ""."""
        if not self.unread:
            return ""
        named = "; ".join(f"{each.uid}: {each.why}" for each in self.unread[:_NAMED])
        if (more := len(self.unread) - _NAMED) > 0:
            named = phrase("%(names)s; and %(n)s more", names=named, n=more)
        return counted(
            len(self.unread),
            "%(n)s report can't be read, and what its process holds is unknown (%(names)s).",
            "%(n)s reports can't be read, and what those processes hold is unknown (%(names)s).",
            names=named,
        )


def read_fleet(beats: Beats | None = None, seen: Mapping[str, Seen] = MappingProxyType({}), target: str = "") -> Fleet:
    """Read the fleet store and the control database; either may be down, which the result then says. Never raises.

    ``beats`` are those that the caller has read already, and ``seen`` what was seen at the targets' servers. With
    ``target`` it is the only one, if there is one of that name.
    """
    beats = read_beats() if beats is None else beats
    profiles: Profiles | None = None
    health: dict[str, Checked] = {}
    held: dict[str, Hold] = {}
    error = ""
    try:
        with sheltered():
            profiles = read_profiles()
            health = stored_checks(_targets(beats, profiles, target))
            held = {target: hold for (target, database), hold in holds().items() if not database}
    except (DatabaseError, ConfigurationError) as trouble:
        error = sentence_of(trouble)
    return fleet_of(beats, profiles, health, error, held, seen, target)


def fleet_of(
    beats: Beats,
    profiles: Profiles | None,
    health: Mapping[str, Checked],
    error: str,
    held: Mapping[str, Hold] = MappingProxyType({}),
    seen: Mapping[str, Seen] = MappingProxyType({}),
    target: str = "",
) -> Fleet:
    """The picture from what could be read; ``profiles`` is None, and ``error`` says why, where the rows could not."""
    now = time()
    views = tuple(
        view_of(each, beats, profiles, health.get(each), held.get(each), seen.get(each), now)
        for each in _targets(beats, profiles or (), target)
    )
    errors = joined(" ", dict.fromkeys((*beats.errors, *((error,) if error else ()))))
    return Fleet(beats.processes, views, beats.store, errors, now, beats.unread, troubles(beats, errors, now))


def last_check(target: str) -> HealthCheck | None:
    """The newest stored health check of a target. Raises ``django.db.Error``."""
    return HealthCheck.objects.using(control_alias()).filter(target=target).order_by("-at", "-id").first()


def stored_checks(targets: Iterable[str]) -> dict[str, Checked]:
    """By target, the values of its newest stored check, where there is one. Raises ``django.db.Error``."""
    return {target: _values(check) for target in targets if (check := last_check(target))}


def _values(check: HealthCheck) -> Checked:
    """What the row says, as far as it can be: a row can be made in SQL too."""
    values = {each.name: getattr(check, each.name) for each in fields(Checked)}
    if values["state"] not in STATES:
        values["state"] = "unknown"
    odd = [name for name, value in values.items() if isinstance(value, float) and not isfinite(value)]
    return Checked(**{**values, **dict.fromkeys(odd)})


def _targets(beats: Beats, profiles: Profiles, wanted: str = "") -> list[str]:
    open_now = {pool.target for beat in beats.processes for pool in beat.pools}
    there = open_now | {profile.target for profile in profiles} | set(known_targets())
    return sorted(there & {wanted} if wanted else there)
