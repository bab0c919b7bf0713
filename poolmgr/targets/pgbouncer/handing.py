"""What a process has of a declared PgBouncer: nothing for the site's code, and for the fleet's leader what manages it."""

from __future__ import annotations

from typing import Any

from poolmgr.exceptions import ConfigurationError
from poolmgr.pools import declaring
from poolmgr.targets.pgbouncer.consoles import places
from poolmgr.targets.pgbouncer.kind import PGBOUNCER
from poolmgr.targets.pgbouncer.pool import BouncerPool


def pool(target: str) -> Any:
    """Raises ``ConfigurationError``: whoever wants a connection connects to PgBouncer as to a database."""
    expect(target)
    raise ConfigurationError(
        f"{target!r} is a PgBouncer, whose pools are its own: connect to it as to a database, such as by DATABASES"
    )


def expect(target: str) -> None:
    """Raises ``ConfigurationError`` where a URL can't be read, or leads to what another target manages."""
    mine = places(declaring.declared(PGBOUNCER)[target])
    for other, each in declaring.declared(PGBOUNCER).items():
        if other == target:
            break  # the later one is told
        taken = {place.address for place in places(each)}
        for place in mine:
            if place.address in taken:
                raise ConfigurationError(
                    f"{place.where} leads to {place.address}, as {each.where} does; settings are those of a whole"
                    " PgBouncer: name all of its databases in one target"
                )


def manager(target: str) -> BouncerPool:
    """What manages it, for the process that leads. Raises ``ConfigurationError``, ``InvalidSpec``."""
    return BouncerPool(declaring.declared(PGBOUNCER)[target])
