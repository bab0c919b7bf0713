"""What asyncpg is told of a server, at each connect anew, so that credentials may rotate."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from django.db import connections

from poolmgr.exceptions import ConfigurationError
from poolmgr.identity import application_name
from poolmgr.secrets import HIDDEN, Secret, hide, shown
from poolmgr.targets.asyncpg.library import asyncpg

#: What is ours to say, or the URL's.
_OURS = frozenset({"dsn", "loop", "timeout", "connection_class"})
#: Of libpq's parameters, those that asyncpg has by the same names.
_SHARED = frozenset(
    {
        *("service", "servicefile", "passfile", "target_session_attrs", "krbsrvname", "gsslib", "options"),
        *("sslmode", "sslcert", "sslkey", "sslrootcert", "sslcrl", "sslpassword", "sslnegotiation"),
        *("ssl_min_protocol_version", "ssl_max_protocol_version", "application_name"),
    }
)
#: What Django and psycopg read, of which asyncpg has other ways, and how libpq bounds silence.
_OTHERS = frozenset(
    {
        *("pool", "assume_role", "isolation_level", "server_side_binding", "cursor_factory", "row_factory"),
        *("prepare_threshold", "context", "autocommit", "connect_timeout", "keepalives", "keepalives_idle"),
        *(
            "keepalives_interval",
            "keepalives_count",
            "tcp_user_timeout",
            "fallback_application_name",
            "client_encoding",
        ),
    }
)
Arguments = Callable[[], dict[str, Any]]


def expect_options(options: Mapping[str, Any], where: str) -> None:
    """Raises ``ConfigurationError`` for keyword arguments that ``asyncpg.connect()`` has not, or that are ours to give."""
    allowed = inspect.signature(asyncpg.connect).parameters.keys() - _OURS
    if odd := sorted(options.keys() - allowed):
        raise ConfigurationError(
            f"{where} has {shown(odd[0])} with {HIDDEN}, but may only have keyword arguments of asyncpg.connect():"
            f" {', '.join(sorted(allowed))}"
        )


def of_url(url: str, options: Mapping[str, Any]) -> Arguments:
    """Those of a server that a URL names."""
    hide(given := dict(options))
    secret, named = Secret(url), "application_name" in parse_qs(urlsplit(url).query)
    return lambda: {**given, "dsn": str(secret), "server_settings": _settings(given, {}, named)}


def of_alias(alias: str, options: Mapping[str, Any]) -> Arguments:
    """Those of a database that Django knows.

    Raises ``ConfigurationError`` where it is none of PostgreSQL's, or its ``OPTIONS`` say what asyncpg can't be told.
    """
    if connections[alias].vendor != "postgresql":
        engine = connections.settings[alias]["ENGINE"]
        raise ConfigurationError(
            f"DATABASES[{alias!r}]['ENGINE'] is {engine!r}, but asyncpg connects to PostgreSQL alone"
        )
    theirs = connections.settings[alias].get("OPTIONS") or {}
    if odd := sorted(theirs.keys() - _SHARED - _OTHERS):
        raise ConfigurationError(
            f"DATABASES[{alias!r}]['OPTIONS'] has {shown(odd[0])}, which asyncpg doesn't know; declare the target with a URL"
        )
    hide(given := dict(options))
    return lambda: _of_alias(connections.settings[alias], given)


def role_of(alias: str) -> str:
    """The role that Django takes on each connection of a database; empty where it stays who it is."""
    return str((connections.settings[alias].get("OPTIONS") or {}).get("assume_role") or "")


def _of_alias(settings: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    theirs = settings.get("OPTIONS") or {}
    query = {name: str(theirs[name]) for name in sorted(theirs.keys() & _SHARED)}
    found = {"host": settings.get("HOST"), "port": settings.get("PORT"), "database": settings.get("NAME")}
    found |= {"user": settings.get("USER"), "password": settings.get("PASSWORD")}
    said = {name: str(value) for name, value in found.items() if value}
    if "port" in said:
        said["port"] = int(said["port"])  # type: ignore[assignment]
    isolation = {}
    if (level := theirs.get("isolation_level")) is not None:
        isolation = {"default_transaction_isolation": getattr(level, "name", str(level)).replace("_", " ").lower()}
    return {
        **said,
        **given,
        "dsn": f"postgresql:///?{urlencode(query)}",
        "server_settings": _settings(given, isolation, "application_name" in query),
    }


def _settings(given: Mapping[str, Any], more: Mapping[str, str], named: bool) -> dict[str, str]:
    name = {} if named else {"application_name": application_name()}
    return {**name, **more, **(given.get("server_settings") or {})}
