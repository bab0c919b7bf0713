"""From a profile that is to be saved to what that would lead to: how things stand is gathered here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from time import time

from django.db import connections
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from poolmgr.conf import ROLES
from poolmgr.control.desired import follow, read_profiles
from poolmgr.control.editing.consequences import Consequence, Foreseen
from poolmgr.control.editing.foresee import foresee
from poolmgr.control.editing.outlook import Member, Outlook, Room, number
from poolmgr.control.editing.profiles import found_at
from poolmgr.control.editing.room import ask_server
from poolmgr.control.editing.transacting import what_transacts
from poolmgr.control.reporting.beats import Beats, read_beats
from poolmgr.exceptions import InvalidSpec
from poolmgr.models import PoolProfile
from poolmgr.pools.kinds import Kind
from poolmgr.pools.spec import PoolSpec
from poolmgr.targets.known import bootstrap_spec, likely_kind_of


def foresee_save(profile: PoolProfile) -> Foreseen:
    """What saving a valid profile, new or changed, would lead to. Raises ``django.db.Error``."""
    rows = read_profiles()
    return _foresee(profile.target, rows, (*_without(profile, rows), profile), profile)


def foresee_delete(deleted: Sequence[PoolProfile]) -> Foreseen:
    """What deleting all of them at once would lead to. Raises ``django.db.Error``."""
    rows = read_profiles()
    found: list[Consequence] = []
    for target in sorted({profile.target for profile in deleted}):
        then = rows
        for profile in deleted:
            then = _without(profile, then)
        each = _foresee(target, rows, then).consequences
        found += [replace(one, about=f"{target}:{one.about}") for one in each]
    return Foreseen.of(found)


def _without(profile: PoolProfile, rows: Iterable[PoolProfile]) -> tuple[PoolProfile, ...]:
    return tuple(row for row in rows if (row.target, row.role) != (profile.target, profile.role))


def _foresee(
    target: str, rows: tuple[PoolProfile, ...], then: tuple[PoolProfile, ...], saved: PoolProfile | None = None
) -> Foreseen:
    kind = likely_kind_of(target)
    otherwise = _unruled(kind, target)
    before = {role: _ruling(rows, target, role, otherwise) for role in ROLES}
    after = {role: _ruling(then, target, role, otherwise) for role in ROLES}
    query = _new_query(kind, saved, rows, before) if saved else ""
    # Holders and pins matter to a mode alone, and are most of what a large fleet tells.
    beats = read_beats(details=any(before[role].pool_mode != after[role].pool_mode for role in ROLES))
    room, tried = Room(), None
    if query or (_may_grow(before, after) and not kind.elsewhere):
        room, tried = ask_server(target, beats.processes, query)
    is_database = target in connections.settings
    return foresee(
        Outlook(
            target,
            kind,
            before,
            after,
            members=tuple(_members(target, beats)),
            room=room,
            tried=tried,
            unread=_unread(beats),
            is_database=is_database,
            transacts=what_transacts(target) if is_database else (),
        )
    )


def _ruling(rows: tuple[PoolProfile, ...], target: str, role: str, otherwise: PoolSpec) -> PoolSpec:
    """What rules processes of ``role``; a row that was made wrong in SQL rules nobody."""
    if (profile := follow(rows, role).get(target)) is not None:
        with suppress(InvalidSpec):
            return profile.spec()
    return otherwise


def _unruled(kind: Kind, target: str) -> PoolSpec:
    """What rules where no profile does."""
    spec = bootstrap_spec(target) or kind.defaults
    with suppress(InvalidSpec):
        return kind.make_spec({**spec.to_dict(), **found_at(target)})
    return spec


def _may_grow(before: Mapping[str, PoolSpec], after: Mapping[str, PoolSpec]) -> bool:
    """Whether the server's room matters: to be asked in vain, it keeps the author waiting."""
    return any(
        after[role].max_size > before[role].max_size or after[role].budget != before[role].budget for role in ROLES
    )


def _new_query(kind: Kind, saved: PoolProfile, rows: tuple[PoolProfile, ...], before: Mapping[str, PoolSpec]) -> str:
    """The validation query, where it is one that nobody has tried yet: neither the kind's own nor one that rules already."""
    query = saved.validation_query
    tried = {kind.defaults.validation_query, *(spec.validation_query for spec in before.values())}
    tried |= {row.validation_query for row in rows if row.pk == saved.pk}
    return "" if query in tried or "validation_query" in kind.refuses else query


def _members(target: str, beats: Beats) -> Iterator[Member]:
    now = time()
    for beat in beats.processes:
        for pool in beat.pools:
            if pool.target == target and beat.role in ROLES:
                yield Member(beat.role, f"{beat.host}:{beat.pid}", max(0.0, now - beat.started), pool)


def _unread(beats: Beats) -> str:
    if not beats.store:
        return " ".join(beats.errors) or _("the fleet can't be read.")
    if beats.unread:
        return ngettext(
            "the report of %(n)s process can't be read.",
            "the reports of %(n)s processes can't be read.",
            len(beats.unread),
        ) % {"n": number(len(beats.unread))}
    return ""
