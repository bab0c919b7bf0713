"""What the site's DATABASES know of the servers behind a PgBouncer, and of those who log in at it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from poolmgr.exceptions import ConfigurationError
from poolmgr.secrets import shown

_LOOPBACK = frozenset({"", "localhost", "127.0.0.1", "::1"})
_TLS = {
    "sslmode": "server_tls_sslmode",
    "sslrootcert": "server_tls_ca_file",
    "sslcert": "server_tls_cert_file",
    "sslkey": "server_tls_key_file",
}
_UNTOLD = ("sslcrl", "sslcrldir", "sslpassword", "ssl_min_protocol_version", "ssl_max_protocol_version")


@dataclass(frozen=True, slots=True)
class Alias:
    """``params`` are what libpq would get; ``through`` says that they lead to the PgBouncer itself."""

    name: str
    params: Mapping[str, Any] = field(repr=False)
    through: bool = False

    @property
    def place(self) -> dict[str, str]:
        """As a line of pgbouncer.ini has it; without a host it is a socket of this machine."""
        given = {"host": _host(self.params), **{word: str(self.params.get(word) or "") for word in ("port", "dbname")}}
        return {word: value for word, value in given.items() if value}

    @property
    def tls(self) -> dict[str, str]:
        found = {theirs: str(self.params[ours]) for ours, theirs in _TLS.items() if self.params.get(ours)}
        if self.params.get("sslmode") == "require" and self.params.get("sslrootcert"):
            found[_TLS["sslmode"]] = "verify-ca"  # which libpq makes of it, and PgBouncer doesn't
        return found

    @property
    def untold(self) -> list[str]:
        """What it has of TLS that PgBouncer has no setting for."""
        return [word for word in _UNTOLD if self.params.get(word)]


def aliases(consoles: Iterable[Mapping[str, Any]]) -> list[Alias]:
    """The PostgreSQL databases of the settings; ``consoles`` are what libpq would get for each console."""
    own, found = list(consoles), []
    for name in settings.DATABASES:
        wrapper = connections[name]
        if wrapper.vendor == "postgresql":
            try:
                params = dict(wrapper.get_connection_params())
            except ImproperlyConfigured:
                continue  # which the site hears of otherwise
            found.append(Alias(name, params, any(_leads_to(params, each) for each in own)))
    return found


def server_of(database: str, found: list[Alias], given: Mapping[str, str]) -> Alias | None:
    """Which alias leads to the server behind a database of PgBouncer's; None where none does.

    ``given`` has the aliases that were chosen. Raises ``ConfigurationError``.
    """
    if database in given:
        chosen = next((each for each in found if each.name == given[database]), None)
        if chosen is None:
            known = ", ".join(each.name for each in found) or "none"
            raise ConfigurationError(
                f"--from {database}={given[database]}: {shown(given[database])} is no PostgreSQL database of this site; there"
                f" are: {known}"
            )
        _usable(chosen)
        if chosen.through:
            raise ConfigurationError(
                f"--from {database}={chosen.name}: DATABASES[{chosen.name!r}] leads to this PgBouncer itself"
            )
        return chosen
    fitting = [each for each in found if not each.through and database in (each.name, each.params.get("dbname"))]
    if len({tuple(each.place.items()) for each in fitting}) > 1:
        names = " and ".join(f"DATABASES[{each.name!r}]" for each in fitting)
        raise ConfigurationError(
            f"{database!r} may be {names}, which lead to different servers: choose one by --from {database}=ALIAS"
        )
    return _usable(fitting[0]) if fitting else None


def _usable(alias: Alias) -> Alias:
    if alias.params.get("service"):
        raise ConfigurationError(
            f"DATABASES[{alias.name!r}] names a service of libpq's, which PgBouncer does not read: give it HOST and NAME"
        )
    if "," in str(alias.params.get("port") or ""):
        raise ConfigurationError(
            f"DATABASES[{alias.name!r}] has a PORT for each of several hosts, but PgBouncer takes one for all"
        )
    for word in ("sslrootcert", "sslcert", "sslkey"):
        if (value := alias.params.get(word)) and not Path(str(value)).is_absolute():
            raise ConfigurationError(
                f"DATABASES[{alias.name!r}] has {value} as {word}, but PgBouncer needs the whole path of a file"
            )
    return alias


def tls_of(servers: Iterable[Alias]) -> dict[str, str]:
    """Of all together, since PgBouncer has one set of them. Raises ``ConfigurationError``."""
    found: dict[str, str] = {}
    said_by: dict[str, str] = {}
    for each in servers:
        for setting, value in each.tls.items():
            if found.setdefault(setting, value) != value:
                raise ConfigurationError(
                    f"DATABASES[{said_by[setting]!r}] and DATABASES[{each.name!r}] want {setting} {found[setting]} and"
                    f" {value}, but PgBouncer has one for all servers"
                )
            said_by.setdefault(setting, each.name)
    return found


def people(found: Iterable[Alias]) -> dict[str, str]:
    """Users with their passwords, "" where DATABASES has none. Raises ``ConfigurationError``."""
    known: dict[str, str] = {}
    for each in found:
        user, password = str(each.params.get("user") or ""), str(each.params.get("password") or "")
        if not user:
            continue
        if known.get(user) and password and known[user] != password:
            raise ConfigurationError(
                f"DATABASES has two passwords for the user {user!r}, but a userlist has one for each user"
            )
        known[user] = known.get(user) or password
    return known


def _host(params: Mapping[str, Any]) -> str:
    return str(params.get("host") or params.get("hostaddr") or "")


def _leads_to(params: Mapping[str, Any], console: Mapping[str, Any]) -> bool:
    host, its = ("local" if each in _LOOPBACK else each for each in (_host(params), _host(console)))
    same_port = str(params.get("port") or 5432) == str(console.get("port") or 5432)
    # Whoever has the console by its socket may have the rest by TCP.
    return same_port and (host == its or (host == "local" and its.startswith("/")))
