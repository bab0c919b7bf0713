"""System checks, each with a hint."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.db import connections

from poolmgr.backends.async_postgresql import requirement
from poolmgr.backends.postgresql.making import expect_names
from poolmgr.conf import conf
from poolmgr.control.editing.transacting import what_transacts
from poolmgr.control.store import get_store
from poolmgr.exceptions import ConfigurationError, MissingLibrary
from poolmgr.exporters.requirement import what_is_missing
from poolmgr.poolers import check_pooler
from poolmgr.pools.declaring import missing_library
from poolmgr.pools.spec import PoolSpec
from poolmgr.secrets import shown
from poolmgr.targets.known import expect, kind_named
from poolmgr.targets.postgresql.options import from_options
from poolmgr.targets.redis import finding
from poolmgr.targets.redis.kind import REDIS

ENGINES = ("poolmgr.backends.postgresql", "poolmgr.backends.postgis", requirement.ENGINE)


def _pooled() -> dict[str, dict[str, Any]]:
    return {alias: got for alias, got in connections.settings.items() if got["ENGINE"] in ENGINES}


@register()
def check_setting(**kwargs: Any) -> list[CheckMessage]:
    try:
        conf()
        # Made and not connected: only redis-py knows which options its URLs may have.
        get_store()
    except ConfigurationError as ex:
        return [Error(str(ex), hint="Correct POOLMGR in the settings.", id="poolmgr.E001")]
    return []


@register()
def check_databases(databases: Iterable[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """``databases`` are those that may be connected to, as ``check --database`` and ``migrate`` have it."""
    found: list[CheckMessage] = []
    for alias, got in _pooled().items():
        options = got["OPTIONS"]
        try:
            expect_names(got, f"DATABASES[{alias!r}]")
        except ConfigurationError as ex:
            hint = "Take the URL apart: NAME, USER, PASSWORD, HOST and PORT each have a key of their own."
            found.append(Error(str(ex), hint=hint, id="poolmgr.E004"))
        try:
            spec, _ = from_options(
                options.get("pool", True) or PoolSpec().to_dict(), f"DATABASES[{alias!r}]['OPTIONS']['pool']"
            )
        except ConfigurationError as ex:
            found.append(Error(str(ex), hint="Correct the pool's settings.", id="poolmgr.E002"))
            continue
        if got["ENGINE"] == requirement.ENGINE:
            found += _check_half_for_tasks(alias)
        if options.get("pool", True) is not False:
            found += _check_database(alias, got, spec)
            found += check_pooler(alias, got, spec, alias in (databases or ()))
    return found


def _check_half_for_tasks(alias: str) -> Iterator[CheckMessage]:
    if missing := requirement.what_is_missing():
        hint = "Install what it needs in every process of the site, or use the ENGINE poolmgr.backends.postgresql."
        yield Error(f"DATABASES[{alias!r}]: {missing}.", hint=hint, id="poolmgr.E006")
    elif not apps.is_installed(requirement.APP):
        yield Error(
            f"DATABASES[{alias!r}]['ENGINE'] is {requirement.ENGINE!r}, but {requirement.APP!r} is not in INSTALLED_APPS:"
            " models have no async_objects.",
            hint=f"Add {requirement.APP!r} to INSTALLED_APPS.",
            id="poolmgr.E009",
        )


def _check_database(alias: str, got: dict[str, Any], spec: PoolSpec) -> Iterator[CheckMessage]:
    yield from _check_age(alias, got)
    if spec.pool_mode == "statement" and (transacts := what_transacts(alias)):
        yield Warning(
            f"DATABASES[{alias!r}] has pool_mode 'statement', which refuses transactions: {'; '.join(transacts)}.",
            hint="Use pool_mode transaction.",
            id="poolmgr.W006",
        )
    if got["ATOMIC_REQUESTS"] and spec.pool_mode == "transaction":
        yield Warning(
            f"DATABASES[{alias!r}] has ATOMIC_REQUESTS with pool_mode {spec.pool_mode!r}: every request is one"
            " transaction, which holds its connection to the end.",
            hint="Turn ATOMIC_REQUESTS off and use atomic() where it is needed, or use pool_mode session.",
            id="poolmgr.W002",
        )


def _check_age(alias: str, got: dict[str, Any]) -> Iterator[CheckMessage]:
    if got["CONN_MAX_AGE"] != 0 and "pool" in got["OPTIONS"]:
        yield Error(
            f"DATABASES[{alias!r}]['CONN_MAX_AGE'] is {shown(got['CONN_MAX_AGE'])} beside a pool, which Django refuses.",
            hint="Remove it; set max_lifetime in the pool's profile instead.",
            id="poolmgr.E003",
        )
    elif got["CONN_MAX_AGE"] != 0:
        yield Warning(
            f"DATABASES[{alias!r}]['CONN_MAX_AGE'] is {shown(got['CONN_MAX_AGE'])}, which a pooled connection"
            " doesn't heed.",
            hint="Remove it; set max_lifetime in the pool's profile instead.",
            id="poolmgr.W001",
        )


@register()
def check_caches(**kwargs: Any) -> list[CheckMessage]:
    found: list[CheckMessage] = []
    for each in finding.locations():
        cache = settings.CACHES[each.alias]
        if not each.url.startswith(("redis://", "rediss://", "unix://")):
            message = f"CACHES[{each.alias!r}] has a POOL, but its LOCATION is no URL of a Redis."
            found.append(Error(message, hint="Use redis://, rediss:// or unix://.", id="poolmgr.E005"))
        elif not ({"pool_class", "CONNECTION_FACTORY", "CONNECTION_POOL_CLASS"} & {*each.options}) and not hasattr(
            settings, "DJANGO_REDIS_CONNECTION_FACTORY"
        ):
            message = f"CACHES[{each.alias!r}] has a POOL, but its backend {cache['BACKEND']!r} is not told of it."
            hint = (
                "With Django's RedisCache set OPTIONS['pool_class'] to 'poolmgr.targets.redis.caches.CachePool', with"
                " django-redis OPTIONS['CONNECTION_FACTORY'] to 'poolmgr.targets.redis.django_redis.ConnectionFactory'."
            )
            found.append(Error(message, hint=hint, id="poolmgr.E005"))
        elif missing := missing_library(REDIS) or finding.missing_backend(cache["BACKEND"], each):
            message = f"CACHES[{each.alias!r}] has a POOL, but {missing}."
            hint = "Install it in every process that uses the cache."
            found.append(Error(message, hint=hint, id="poolmgr.E006"))
        try:
            finding.make_bootstrap(each)
        except ConfigurationError as ex:
            found.append(Error(str(ex), hint="Correct the pool's settings.", id="poolmgr.E007"))
    return found


@register()
def check_targets(**kwargs: Any) -> list[CheckMessage]:
    found: list[CheckMessage] = []
    try:
        declared = conf().TARGETS
    except ConfigurationError:  # which check_setting tells
        return []
    install = "Install it in every process that uses the target."
    for target, each in declared.items():
        kind = kind_named(each.kind)
        if kind.name == each.kind and (missing := missing_library(kind)):
            found.append(Error(f"{each.where}: {missing}.", hint=install, id="poolmgr.E006"))
            continue
        try:
            # Made and not connected: only its library knows all that a URL may say.
            expect(target)
        except MissingLibrary as ex:
            found.append(Error(f"{each.where}: {ex}.", hint=install, id="poolmgr.E006"))
        except ConfigurationError as ex:
            found.append(Error(str(ex), hint="Correct the target in POOLMGR.", id="poolmgr.E008"))
    return found


@register()
def check_opentelemetry(**kwargs: Any) -> list[CheckMessage]:
    if missing := what_is_missing():
        hint = "Install it in every process of the site, or leave OPENTELEMETRY out."
        return [Error(f"{missing}.", hint=hint, id="poolmgr.E006")]
    return []


@register()
def check_celery(**kwargs: Any) -> list[CheckMessage]:
    if find_spec("celery") is None:
        return []
    return [
        Warning(
            f"DATABASES[{alias!r}] has Django's own pool, which Celery's prefork workers close around every task: each"
            " task pays for new connections.",
            hint=f"Set its ENGINE to {ENGINES[0]!r}; the pool's settings may stay as they are.",
            id="poolmgr.W005",
        )
        for alias, got in connections.settings.items()
        if got["ENGINE"] == "django.db.backends.postgresql" and got.get("OPTIONS", {}).get("pool")
    ]


@register()
def check_console_lane(**kwargs: Any) -> list[CheckMessage]:
    ours = "poolmgr.middleware.ConsoleLaneMiddleware"
    middleware = list(settings.MIDDLEWARE)
    if not apps.is_installed("poolmgr") or not _pooled():
        return []
    if ours not in middleware:
        message = f"{ours} is not in MIDDLEWARE: with a pool exhausted, the admin and the dashboard don't answer."
    elif any(
        each.startswith(("django.contrib.sessions", "django.contrib.auth"))
        for each in middleware[: middleware.index(ours)]
    ):
        message = f"{ours} comes after middleware that queries the database."
    else:
        return []
    return [Warning(message, hint=f"Make {ours} the first entry of MIDDLEWARE.", id="poolmgr.W003")]
