"""Where a declared PgBouncer is: the consoles of its processes, and its databases."""

from __future__ import annotations

from typing import NamedTuple

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from poolmgr.conf import Declared
from poolmgr.exceptions import ConfigurationError
from poolmgr.secrets import HIDDEN, Secret, scrub


class Place(NamedTuple):
    """``address`` is for people, ``where`` the setting that names it."""

    url: str
    address: str
    where: str


def places(each: Declared) -> tuple[Place, ...]:
    """Raises ``ConfigurationError`` for a URL that libpq can't read, or that another of them is."""
    named = [(each.url, f"{each.where}['URL']")]
    named += [(url, f"{each.where}['OTHER_URLS'][{n}]") for n, url in enumerate(each.rest.get("OTHER_URLS") or ())]
    found: dict[str, Place] = {}
    for url, where in named:
        place = _place(url, where)
        if place is None:
            raise ConfigurationError(f"{where} is {HIDDEN}, but must be a URL that libpq can read")
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
    # Its console is a database of this name, at PgBouncer's own port and not at libpq's, where the URL leaves them out.
    port = got.get("port") or "6432"
    whole = Secret(make_conninfo(url, dbname=got.get("dbname") or "pgbouncer", port=port))
    return Place(whole, scrub(f"{host}:{port}"), where)


def databases(each: Declared) -> tuple[str, ...]:
    return tuple(each.rest["DATABASES"])
