"""What one look at a PgBouncer finds otherwise than it should be, in sentences."""

from __future__ import annotations

from collections.abc import Mapping

from poolmgr.targets.pgbouncer.picture import Picture


def problems(
    address: str, seen: Picture, wanted: Mapping[str, str], declared: Mapping[str, Mapping[str, str]]
) -> list[str]:
    """``wanted`` are the settings of the whole, ``declared`` those of each database alone."""
    found = []
    if seen.halted:
        found.append(f"PgBouncer at {address} is {seen.halted} as a whole, by its console: RESUME there ends that")
    for each in seen.databases:
        if not each.there:
            found.append(f"PgBouncer at {address} has no database {each.name!r}")
        elif each.disabled:
            found.append(
                f"PgBouncer at {address} has {each.name!r} disabled, and refuses its new clients until it is enabled"
            )
        elif each.paused and not seen.paused:
            found.append(f"PgBouncer at {address} has {each.name!r} paused, and others not")
        own = declared.get(each.name, {})
        found += [
            f"PgBouncer at {address} has {name} {value} for {each.name!r} alone, by its file, and SET does not reach that"
            for name, value in each.own.items()
            if name in wanted and wanted[name] != value and name not in own
        ]
        found += [
            f"PgBouncer at {address} has {name} {now} for {each.name!r}, of which {value} is declared: write its file by"
            " manage.py pgbouncer config"
            for name, value in own.items()
            if each.there and (now := each.own.get(name, seen.config.get(name, ""))) != value
        ]
    return found
