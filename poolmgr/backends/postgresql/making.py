"""From Django's settings of a database to its pool."""

from __future__ import annotations

from threading import local
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db.backends.postgresql.psycopg_any import IsolationLevel

from poolmgr.backends.postgresql.cursors import ServerBindingServerSideCursor, reporting
from poolmgr.backends.postgresql.watched import WatchedConnection
from poolmgr.exceptions import ConfigurationError
from poolmgr.secrets import HIDDEN, is_secret, shown
from poolmgr.targets.postgresql.connection import pooled
from poolmgr.targets.postgresql.elastic import ElasticPool
from poolmgr.targets.postgresql.managed import ManagedPool
from poolmgr.targets.postgresql.options import from_options
from poolmgr.targets.postgresql.parameters import address, connection_parameters
from poolmgr.targets.postgresql.preparing import present_preparation


def make_pool(template: Any) -> ManagedPool:
    """A pool that is not open yet.

    ``template`` is a database wrapper of the pool's own: connects happen in the pool's threads for as long as it lives,
    so not on the wrapper of whichever thread asked first. Raises ``ConfigurationError`` and ``ImproperlyConfigured``.
    """
    got, alias = template.settings_dict, template.alias
    options = got["OPTIONS"]
    spec, passed = from_options(options.get("pool", True), f"DATABASES[{alias!r}]['OPTIONS']['pool']")
    if got["CONN_MAX_AGE"] != 0 and "pool" in options:
        # As Django has it. Where no pool is named the setting was for connections without one, and is not heeded.
        raise ConfigurationError(
            f"DATABASES[{alias!r}]['CONN_MAX_AGE'] is {shown(got['CONN_MAX_AGE'])}: Pooling doesn't support persistent"
            " connections. Remove it; max_lifetime limits the age of a pool's connections."
        )
    if got["CONN_HEALTH_CHECKS"]:
        # Django's answer to whoever asks the pool; ours looks at its connections itself, at every checkout.
        passed.setdefault("check", ElasticPool.check_connection)
    template.check_settings()
    level = isolation_level(template)
    here = _WrapperOfThread(template)

    def connect_kwargs() -> dict[str, Any]:
        given = template.get_connection_params() | {"autocommit": True}
        given["cursor_factory"] = reporting(given["cursor_factory"])
        return connection_parameters(given, made.spec.connection_timeout)

    def configure(conn: Any) -> None:
        conn.server_cursor_factory = ServerBindingServerSideCursor
        if level is not None:
            conn.isolation_level = level
        if (preparation := present_preparation()) is not None:
            here.wrapper.use_prepared(preparation)
        here.wrapper._configure_connection(conn)

    passed["connection_class"] = pooled(passed.get("connection_class", WatchedConnection), WatchedConnection)
    made = ManagedPool(alias, spec, connect_kwargs, configure, address(got), passed)
    return made


class _WrapperOfThread(local):
    """Each of the pool's threads has a wrapper of its own to prepare connections by: what it calls may use it as such."""

    def __init__(self, template: Any) -> None:
        # Of settings of its own, since a subclass may note in them whom it serves.
        self.wrapper = type(template)({**template.settings_dict}, template.alias)


def expect_names(settings_dict: dict[str, Any], where: str) -> None:
    """Raise ``ConfigurationError`` where a URL or a connection string stands in the place of a name.

    No server could make anything of it, and names are shown: in messages, logs and heartbeats.
    """
    for key, what in _NAMES.items():
        if is_secret(str(settings_dict[key])):
            raise ConfigurationError(
                f"{where}[{key!r}] is {HIDDEN}, since it seems to hold a password, but must be {what} alone"
            )


_NAMES = {"NAME": "the database's name", "USER": "the user's name", "HOST": "the host's name", "PORT": "the port"}


def isolation_level(wrapper: Any) -> IsolationLevel | None:
    """``OPTIONS["isolation_level"]``. Raises ``ImproperlyConfigured`` that says what is allowed."""
    value = wrapper.settings_dict["OPTIONS"].get("isolation_level")
    if value is None:
        return None
    try:
        return IsolationLevel(value)
    except ValueError:
        allowed = ", ".join(f"{level.value} ({level.name})" for level in IsolationLevel)
        raise ImproperlyConfigured(
            f"DATABASES[{wrapper.alias!r}]['OPTIONS']['isolation_level'] is {shown(value)}, but must be one of {allowed}"
        ) from None
