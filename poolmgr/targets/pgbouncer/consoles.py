"""Where a declared PgBouncer is: the consoles of its processes, and its databases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from poolmgr.conf import Declared
from poolmgr.exceptions import ConfigurationError
from poolmgr.secrets import HIDDEN, Secret, scrub, shown

#: The name of the database that a console is.
CONSOLE = "pgbouncer"


class Place(NamedTuple):
    """``address`` is for people, ``where`` the setting that names it."""

    url: str
    address: str
    where: str
    database: str


def places(each: Declared) -> tuple[Place, ...]:
    """Raises ``ConfigurationError`` for a URL that libpq can't read, or that another of them is."""
    named = [(each.url, f"{each.where}['URL']")]
    named += [(url, f"{each.where}['OTHER_URLS'][{n}]") for n, url in enumerate(each.rest.get("OTHER_URLS") or ())]
    found: dict[str, Place] = {}
    for url, where in named:
        place = _place(url, where)
        if place is None:
            raise ConfigurationError(f"{where} is {HIDDEN}, but must be a URL that libpq can read")
        if place.database != CONSOLE:
            raise ConfigurationError(
                f"{where} leads to the database {shown(place.database)}, and the console's is {CONSOLE!r}"
            )
        if "," in place.address:
            raise ConfigurationError(f"{where} names several hosts; the consoles of others stand in OTHER_URLS")
        if (other := found.get(place.address)) is not None:
            raise ConfigurationError(f"{where} leads to {place.address}, as {other.where} does")
        found[place.address] = place
    return tuple(found.values())


def _place(url: str, where: str) -> Place | None:
    try:
        got = conninfo_to_dict(url)
    except psycopg.Error:  # whose words quote the URL
        return None
    host = got.get("hostaddr") or got.get("host") or "local socket"
    # At PgBouncer's own port and not at libpq's, where the URL leaves it out.
    port = got.get("port") or "6432"
    database = str(got.get("dbname") or CONSOLE)
    whole = Secret(make_conninfo(url, dbname=database, port=port))
    shown_host = f"[{host}]" if ":" in str(host) and not str(host).startswith("/") else host
    return Place(whole, scrub(f"{shown_host}:{port}"), where, database)


def databases(each: Declared) -> tuple[str, ...]:
    return tuple(each.rest["DATABASES"])


def own_settings(each: Declared) -> dict[str, dict[str, str]]:
    """What is declared of one database alone, by PgBouncer's names for the whole. It takes the file and RELOAD."""
    given, instances = each.rest["DATABASES"], 1 + len(each.rest.get("OTHER_URLS") or ())
    if not isinstance(given, Mapping):
        return {}
    return {
        name: {_OWN[word]: _own(word, value, instances) for word, value in own.items()} for name, own in given.items()
    }


def _own(word: str, value: Any, instances: int) -> str:
    return str(max(1, value // instances) if word == "budget" and value else value)


_OWN = {
    "max_size": "default_pool_size",
    "min_size": "min_pool_size",
    "budget": "max_db_connections",
    "pool_mode": "pool_mode",
}
