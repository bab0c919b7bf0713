"""What one look at a PgBouncer finds otherwise than it should be, in sentences."""

from __future__ import annotations

from collections.abc import Mapping

from poolmgr.metrics.phrases import phrase
from poolmgr.targets.pgbouncer.picture import Database, Picture

_HALTED = {"paused": phrase("paused"), "suspended": phrase("suspended")}


def problems(
    address: str, seen: Picture, wanted: Mapping[str, str], declared: Mapping[str, Mapping[str, str]]
) -> list[str]:
    """``wanted`` are the settings of the whole, ``declared`` those of each database alone."""
    found: list[str] = []
    if seen.halted:
        found.append(
            phrase(
                "PgBouncer at %(address)s is %(what)s as a whole, by its console: RESUME there ends that",
                address=address,
                what=_HALTED.get(seen.halted, seen.halted),
            )
        )
    for each in seen.databases:
        own = declared.get(each.name, {})
        if said := _of_one(address, each, seen.paused):
            found.append(said)
        found += [
            phrase(
                "PgBouncer at %(address)s has %(name)s %(value)s for '%(database)s' alone, by its file, and SET does not "
                "reach that",
                address=address,
                name=name,
                value=value,
                database=each.name,
            )
            for name, value in each.own.items()
            if name in wanted and wanted[name] != value and name not in own
        ]
        found += [
            phrase(
                "PgBouncer at %(address)s has %(name)s %(now)s for '%(database)s', of which %(value)s is declared: write "
                "its file by manage.py pgbouncer config",
                address=address,
                name=name,
                now=now,
                database=each.name,
                value=value,
            )
            for name, value in own.items()
            if each.there and (now := each.own.get(name, seen.config.get(name, ""))) != value
        ]
    return found


def _of_one(address: str, database: Database, paused: bool) -> str:
    """``paused`` is the whole."""
    if not database.there:
        return phrase("PgBouncer at %(address)s has no database '%(name)s'", address=address, name=database.name)
    if database.disabled:
        return phrase(
            "PgBouncer at %(address)s has '%(name)s' disabled, and refuses its new clients until it is enabled",
            address=address,
            name=database.name,
        )
    if database.paused and not paused:
        return phrase(
            "PgBouncer at %(address)s has '%(name)s' paused, and others not", address=address, name=database.name
        )
    return ""
