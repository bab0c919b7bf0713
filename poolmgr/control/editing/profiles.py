"""Saving profiles: every change of content makes a revision, an event, and a call to the fleet."""

from __future__ import annotations

from typing import Any

from django.db.models import Max
from django.utils.translation import gettext as _

from poolmgr.control.access import control_alias, control_transaction
from poolmgr.control.events import record
from poolmgr.control.push import notify_after_commit
from poolmgr.control.reporting.beats import read_beats
from poolmgr.exceptions import EditedMeanwhile, InvalidSpec
from poolmgr.metrics.phrases import phrase
from poolmgr.models import Event, PoolProfile, ProfileRevision
from poolmgr.models.profile import ONE_PROFILE
from poolmgr.pools.spec import FIELDS, plainly
from poolmgr.secrets import scrub
from poolmgr.targets.known import bootstrap_spec, known_targets, led_targets, likely_kind_of

__all__ = [
    "bootstrap_profiles",
    "delete_profile",
    "duplicate_for_role",
    "duplicated",
    "found_at",
    "in_force",
    "known_targets",
    "restore",
    "restored",
    "save_profile",
]


def save_profile(
    profile: PoolProfile, author: str, reason: str = "", seen: int | None = None
) -> ProfileRevision | None:
    """Save a profile, new or changed; None when its content is what the row holds already.

    ``reason`` is kept with the revision, without what looks like a password in it. ``seen`` is the revision that the author
    saw; None overwrites any. Raises ``EditedMeanwhile`` when the row has another by now, and ``django.db.IntegrityError``
    when another row has the same target and role.
    """
    reason = scrub(reason)[:200]
    with control_transaction() as alias:
        # Two people who save at once do so one after the other, and the second gets to know.
        before = PoolProfile.objects.using(alias).select_for_update().filter(pk=profile.pk).first()
        if seen is not None and (before is None or before.revision != seen):
            now = f"revision {before.revision}" if before else "gone"
            raise EditedMeanwhile(f"{profile} is {now}, but the edit was made on revision {seen}")
        changes = _changes(before, profile)
        if before is not None and not changes:
            return None
        profile.revision = _next_number(profile)
        profile.updated_by = author
        profile.save(using=alias)
        revision = ProfileRevision(
            target=profile.target,
            role=profile.role,
            number=profile.revision,
            values=_content(profile),
            changes=changes,
            reason=reason,
            author=author,
        )
        revision.save(using=alias)
        what = ", ".join(
            f"{name} {plainly(old)} → {plainly(new)}" for name, (old, new) in changes.items() if old is not None
        )
        said = phrase("%(profile)s saved: %(changes)s", profile=profile.called, changes=what or phrase("created"))
        if reason:
            said = phrase("%(what)s (%(why)s)", what=said, why=reason)
        record(Event.Kind.PROFILE, profile.target, author, said)
        notify_after_commit()
    return revision


def delete_profile(profile: PoolProfile, author: str) -> None:
    """Delete a profile; its target goes back to the next best one, or to its bootstrap settings."""
    with control_transaction() as alias:
        name = profile.called
        profile.delete(using=alias)
        record(Event.Kind.PROFILE, profile.target, author, phrase("%(profile)s deleted", profile=name))
        notify_after_commit()


def restore(revision: ProfileRevision, author: str) -> PoolProfile:
    """Make a profile what it was in ``revision``, also one that was deleted since. Raises as ``restored()``."""
    profile = restored(revision)
    save_profile(profile, author, _("restored revision %(number)s") % {"number": revision.number})
    return profile


def restored(revision: ProfileRevision) -> PoolProfile:
    """The profile as it was in ``revision``, not saved. Raises ``InvalidSpec`` when that is not valid any more."""
    if not revision.settings:
        raise InvalidSpec({"values": phrase("the revision holds no settings")})
    rows = PoolProfile.objects.using(control_alias())
    profile = rows.filter(target=revision.target, role=revision.role).first()
    if profile is None:
        profile = PoolProfile(target=revision.target, role=revision.role)
    for name in (*FIELDS, "enabled"):
        if name in revision.settings:
            setattr(profile, name, revision.settings[name])
    if not isinstance(profile.enabled, bool):
        raise InvalidSpec({"enabled": phrase("%(value)s is neither true nor false", value=repr(profile.enabled))})
    profile.spec()
    return profile


def bootstrap_profiles() -> list[PoolProfile]:
    """An unsaved profile for each target without any row, with the settings that rule it now."""
    rows = set(PoolProfile.objects.using(control_alias()).values_list("target", flat=True))
    targets = [alias for alias in known_targets() if alias not in rows and bootstrap_spec(alias) is not None]
    return [PoolProfile(target=alias, **in_force(alias)) for alias in targets]


def in_force(target: str) -> dict[str, Any]:
    """The settings that rule ``target`` where no role has a profile of its own; of an unknown one its kind's defaults."""
    rows = PoolProfile.objects.using(control_alias()).filter(target=target, role=PoolProfile.Role.ANY, enabled=True)
    if (profile := rows.first()) is not None:
        return profile.values()
    spec = bootstrap_spec(target) if target in known_targets() else None
    return {**(spec or likely_kind_of(target).defaults).to_dict(), **found_at(target)}


def found_at(target: str) -> dict[str, Any]:
    """Of a server that keeps its own pools, the settings that it has beside those that are written down here."""
    if target not in led_targets():
        return {}
    told = [pool.settings for beat in read_beats().processes for pool in beat.pools if pool.target == target]
    return {name: value for each in told for name, value in each.items() if name in FIELDS}


def duplicate_for_role(profile: PoolProfile, role: str, author: str) -> PoolProfile:
    """Save a copy of a profile for another role.

    Raises ``ValueError`` for an unknown role, ``django.db.IntegrityError`` when that role has a profile already.
    """
    copy = duplicated(profile, role)
    save_profile(copy, author, _("duplicated from %(profile)s") % {"profile": profile})
    return copy


def duplicated(profile: PoolProfile, role: str) -> PoolProfile:
    """The copy, not saved. Raises ``ValueError`` for an unknown role."""
    if role and likely_kind_of(profile.target).elsewhere:
        raise ValueError(ONE_PROFILE)
    if role not in PoolProfile.Role.values:
        roles = ", ".join(PoolProfile.Role.values)
        raise ValueError(phrase("%(value)s is not one of %(allowed)s", value=repr(role), allowed=roles))
    return PoolProfile(target=profile.target, role=role, enabled=profile.enabled, **profile.values())


def _content(profile: PoolProfile) -> dict[str, Any]:
    return {**profile.values(), "enabled": profile.enabled}


def _changes(before: PoolProfile | None, after: PoolProfile) -> dict[str, tuple[Any, Any]]:
    """What differs, as ``{name: (before, after)}``; everything, before None, for a new profile."""
    old = {} if before is None else {**_content(before), "target": before.target, "role": before.role}
    new = {**_content(after), "target": after.target, "role": after.role}
    if before is None:
        new = _content(after)
    return {name: (old.get(name), value) for name, value in new.items() if before is None or old[name] != value}


def _next_number(profile: PoolProfile) -> int:
    # Revisions outlive their profile: one that is made anew goes on counting.
    revisions = ProfileRevision.objects.using(control_alias()).filter(target=profile.target, role=profile.role)
    last: int = revisions.aggregate(last=Max("number"))["last"] or 0
    return max(last, profile.revision) + 1
