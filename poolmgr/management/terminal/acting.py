"""Orders from a terminal, as the dashboard's are: the same log, the same refusals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from poolmgr.control.access import control_alias
from poolmgr.control.commanding import commands
from poolmgr.control.commanding.acting import act_on
from poolmgr.control.commanding.asking import ask
from poolmgr.control.editing import profiles
from poolmgr.control.editing.consequences import Foreseen
from poolmgr.control.editing.weighing import foresee_save
from poolmgr.control.inquiry import Answer, What
from poolmgr.control.reporting.documents.holders import Held, held
from poolmgr.control.reporting.documents.processes import named
from poolmgr.control.reporting.documents.targets import views
from poolmgr.control.reporting.fleet import Fleet
from poolmgr.models import Command, PoolProfile, ProfileRevision
from poolmgr.pools.spec import FIELDS


def checkout(fleet: Fleet, target: str, name: str) -> Held:
    """The checkout by the name that ``holders`` gives. Raises ``LookupError``."""
    found = next((each for each in held(fleet, target) if name and each.name == name), None)
    if found is None:
        raise LookupError(
            f"nobody holds a connection to {target!r} by the name {name!r}; see: poolctl holders {target}"
        )
    return found


def stack(found: Held) -> Answer | None:
    """What its process says of it now; None where it says nothing in time. Raises as ``asking.ask()`` does."""
    return ask(found.beat, What.LOOK, found.target, found.holder.checkout)


def act(what: What, found: Held, author: str) -> tuple[bool, str]:
    """As ``commanding.acting.act_on()`` has it."""
    return act_on(what, found.beat, found.target, found.holder, author)


def order(fleet: Fleet, kind: str, target: str, author: str, where: str = "") -> Command:
    """Pause, resume or recycle a target, in all processes or in one.

    Raises ``LookupError``, ``commands.Denied`` and ``django.db.Error``.
    """
    views(fleet, target)
    uid = named(fleet.processes, where).uid if where else ""
    return commands.send(kind, target, author, uid)


class Unconfirmed(Exception):
    """Nothing was saved: what it would lead to, ``foreseen``, has to be confirmed, or is refused."""

    def __init__(self, foreseen: Foreseen) -> None:
        super().__init__("nothing was saved")
        self.foreseen = foreseen


@dataclass(frozen=True, slots=True)
class Edit:
    """A profile as it is now, the revision that was made, if any was, and what it leads to."""

    profile: PoolProfile
    revision: ProfileRevision | None
    foreseen: Foreseen


def edit(
    fleet: Fleet, target: str, role: str, values: Mapping[str, Any], author: str, reason: str, confirmed: bool = False
) -> Edit:
    """Change settings of a target's profile for ``role`` ("" for any), which is made where there is none.

    Raises ``LookupError``, ``InvalidSpec`` (which setting, which value, what is allowed), ``Unconfirmed`` and
    ``django.db.Error``.
    """
    views(fleet, target)
    if unknown := values.keys() - set(FIELDS):
        raise LookupError(f"{', '.join(sorted(unknown))}: no such setting; there are {', '.join(FIELDS)}")
    rows = PoolProfile.objects.using(control_alias())
    profile = rows.filter(target=target, role=role).first()
    if profile is None:
        profile = PoolProfile(target=target, role=role, **profiles.in_force(target))
    for name, value in values.items():
        setattr(profile, name, value)
    profile.spec()
    foreseen = foresee_save(profile)
    if foreseen.refused or (foreseen.asked and not confirmed):
        raise Unconfirmed(foreseen)
    return Edit(profile, profiles.save_profile(profile, author, reason), foreseen)
