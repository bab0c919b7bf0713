"""The Redis targets that the settings name: every location of a cache whose OPTIONS have a POOL, and what TARGETS declares.

It needs no redis-py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from django.conf import settings

from poolmgr.exceptions import ConfigurationError, InvalidSpec
from poolmgr.pools import declaring
from poolmgr.pools.spec import PoolSpec
from poolmgr.secrets import Secret, shown
from poolmgr.targets.redis.kind import REDIS

#: The key of a cache's OPTIONS with the settings of its pool before any profile.
POOL = "POOL"
#: django-redis's, by which a LOCATION names no host but what Sentinel watches.
SENTINELS = "SENTINELS"


class Location(NamedTuple):
    """One server of a cache. The first is named as its cache, ``cache:default``; the next ones are ``cache:default/1``."""

    target: str
    alias: str
    url: str
    options: Mapping[str, Any]

    @property
    def where(self) -> str:
        return f"CACHES[{self.alias!r}]['OPTIONS'][{POOL!r}]"


def locations() -> tuple[Location, ...]:
    """In the order of the settings."""
    return tuple(
        Location(f"{REDIS.prefix}{alias}" + (f"/{number}" if number else ""), alias, url, options)
        for alias, cache in settings.CACHES.items()
        if POOL in (options := _options(cache))
        for number, url in enumerate(_urls(cache.get("LOCATION", "")))
    )


def _options(cache: Mapping[str, Any]) -> Mapping[str, Any]:
    options: Mapping[str, Any] = cache.get("OPTIONS") or {}
    return options


def _urls(location: Any) -> list[str]:
    # As Django's and django-redis's backends read it.
    found = re.split("[;,]", location) if isinstance(location, str) else list(location)
    return [Secret(url) for url in found]


def location(target: str) -> Location:
    """Raises ``KeyError`` for one that the settings don't name."""
    found = {each.target: each for each in locations()}
    return found[target]


def location_of(url: str, pool: Any) -> Location:
    """Which location of which cache a backend speaks of, that has this URL and these OPTIONS["POOL"].

    Backends pass on the very object that stands in the settings. Raises ``ConfigurationError`` where that tells of none.
    """
    found = [each for each in locations() if each.url == url]
    by_object = [each for each in found if each.options[POOL] is pool]
    by_value = [each for each in found if each.options[POOL] == pool]
    for some in (by_object, by_value):
        if len({each.alias for each in some}) == 1:
            return some[0]
    raise ConfigurationError(
        f"which cache this Redis pool is of can't be told: give each cache in CACHES an OPTIONS[{POOL!r}] of its own,"
        " {} for the defaults"
    )


def missing_backend(backend: object, of: Location) -> str:
    """What is wrong where a cache is on django-redis and that isn't installed, without a full stop; else empty."""
    named = (backend, of.options.get("CONNECTION_FACTORY", ""))
    if not any("django_redis" in str(each) for each in named) or find_spec("django_redis") is not None:
        return ""
    return "its backend needs django-redis, which is not installed: pip install 'poolmgr[redis]'"


def make_bootstrap(of: Location) -> PoolSpec:
    """Raises ``InvalidSpec``."""
    values = of.options[POOL]
    if not isinstance(values, Mapping):
        raise InvalidSpec({POOL: f"{shown(values)} is not a dict of a profile's settings"}, of.where)
    return REDIS.make_spec(values, of.where)


def targets() -> tuple[str, ...]:
    """The names of those that the settings have, in their order; those of caches come first."""
    return (*(each.target for each in locations()), *declaring.declared(REDIS))


def bootstrap(target: str) -> PoolSpec | None:
    """The settings of a pool before any profile; None where they are wrong, which the system checks report."""
    try:
        if (each := declaring.declared(REDIS).get(target)) is not None:
            return declaring.bootstrap(each, REDIS)
        return make_bootstrap(location(target))
    except InvalidSpec:
        return None


def address(target: str) -> str:
    """Where it is, for people, with no secret."""
    each = declaring.declared(REDIS).get(target)
    if each is not None:
        return address_of(each.url)
    of = location(target)
    return _service_of(of.url) if SENTINELS in of.options else address_of(of.url)


def _service_of(url: str) -> str:
    """What Sentinel is asked for."""
    got = urlsplit(url)
    return f"{got.hostname or ''}/{got.path.strip('/') or 0}"


def address_of(url: str) -> str:
    try:
        got = urlsplit(url)
        if got.scheme == "unix":
            return unquote(got.path)
        return f"{got.hostname or 'localhost'}:{got.port or 6379}/{got.path.strip('/') or 0}"
    except ValueError:  # a port that is none
        return ""
