"""Settings from environment variables. Every error names the variable, what it held (secrets never) and what is allowed."""

import os
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote, urlencode, urlsplit

from django.core.exceptions import ImproperlyConfigured

from poolmgr.secrets import Secret, shown

TRUE = ("1", "true", "yes", "on")
FALSE = ("0", "false", "no", "off")


def text(name: str, default: str | None = None) -> str:
    """The variable's value; without a default it is required."""
    value = os.environ.get(name, "").strip()
    if value:
        return value
    if default is None:
        raise ImproperlyConfigured(f"{name} is not set. It is required: poolsite/README.md lists the settings.")
    return default


def flag(name: str, default: bool) -> bool:
    value = text(name, "1" if default else "0").lower()
    if value not in TRUE + FALSE:
        raise ImproperlyConfigured(
            f"{name}={shown(value)} is not a switch. Allowed: {', '.join(TRUE)} or {', '.join(FALSE)}."
        )
    return value in TRUE


def number(name: str, default: int, minimum: int = 0) -> int:
    value = text(name, str(default))
    if not value.isdecimal() or int(value) < minimum:
        raise ImproperlyConfigured(
            f"{name}={shown(value)} is not allowed. Allowed: a whole number of at least {minimum}."
        )
    return int(value)


def choice(name: str, default: str, allowed: tuple[str, ...]) -> str:
    value = text(name, default)
    if value not in allowed:
        raise ImproperlyConfigured(f"{name}={shown(value)} is not allowed. Allowed: {', '.join(allowed)}.")
    return value


def words(name: str, default: str = "") -> list[str]:
    """A list, separated by commas."""
    return [word.strip() for word in text(name, default).split(",") if word.strip()]


def secret_key(name: str = "SECRET_KEY") -> str:
    value = text(name)
    if len(value) < 32:
        raise ImproperlyConfigured(f"{name} has {len(value)} characters. Allowed: at least 32, random and kept secret.")
    return value


def database(name: str, engine: str, pool: dict[str, Any]) -> dict[str, Any]:
    """One entry of DATABASES from a URL: postgresql://user:password@host:port/dbname?sslmode=require"""
    parts = _postgres_url(name)
    return {
        "ENGINE": engine,
        "NAME": parts["path"],
        "USER": parts["username"],
        "PASSWORD": parts["password"],
        "HOST": parts["host"],
        "PORT": parts["port"],
        "CONN_MAX_AGE": 0,
        # libpq's own parameters (sslmode, application_name, …) come from the URL's query.
        "OPTIONS": {**parts["query"], "pool": pool},
    }


def sqlalchemy_url(name: str, otherwise: str) -> str:
    """The same URL for SQLAlchemy, with psycopg as the driver; where the variable isn't set, that of ``otherwise``."""
    given = name if text(name, "") else otherwise
    _postgres_url(given)
    return Secret(f"postgresql+psycopg://{text(given).partition('://')[2]}")


def pgbouncer_url(name: str = "PGBOUNCER_URL") -> str:
    """The URL of a console, or "" when there is no PgBouncer."""
    if text(name, ""):
        _postgres_url(name)
    return Secret(text(name, ""))


def redis_url(name: str = "REDIS_URL", **options: int) -> str:
    """The URL, or "" when there is no Redis; with redis-py's ``options``, unless it has them."""
    value = text(name, "")
    if value and not value.startswith("unix://"):
        _url(name, ("redis", "rediss"), "redis://:password@host:6379/0 or unix:///path/to/socket")
    said = parse_qs(urlsplit(value).query)
    more = urlencode({option: number for option, number in options.items() if option not in said})
    return Secret(f"{value}{'&' if '?' in value else '?'}{more}" if value and more else value)


def _postgres_url(name: str) -> dict[str, Any]:
    parts = _url(name, ("postgresql", "postgres"), "postgresql://user:password@host:5432/dbname?sslmode=require")
    if not parts["path"]:
        raise ImproperlyConfigured(f"{name} names no database. Allowed: postgresql://user:password@host:5432/dbname")
    return parts


def _url(name: str, schemes: tuple[str, ...], example: str) -> dict[str, Any]:
    value = text(name)
    try:
        url = urlsplit(value)
        port = url.port
    except ValueError:
        # The value is left out on purpose: it holds a password.
        raise ImproperlyConfigured(f"{name} is not a URL, or its port is not a number. Allowed: {example}") from None
    # Without the slashes, or with one too many, the password would count as a part of the path, which messages show.
    if not value.lower().startswith(f"{url.scheme}://") or (not url.netloc and "@" in url.path):
        raise ImproperlyConfigured(f"{name} has no scheme://host. Allowed: {example}")
    if url.scheme not in schemes:
        raise ImproperlyConfigured(f"{name} starts with {url.scheme}://. Allowed: {example}")
    return {
        "username": unquote(url.username or ""),
        "password": unquote(url.password or ""),
        "host": unquote(url.hostname or ""),
        "port": str(port or ""),
        "path": unquote(url.path.lstrip("/")),
        "query": dict(parse_qsl(url.query)),
    }
