"""Where a database is, and the parameters of whoever connects to it."""

from __future__ import annotations

import sys
from typing import Any

from poolmgr.identity import application_name
from poolmgr.pools.sockets import KEEPALIVES_COUNT, KEEPALIVES_IDLE, KEEPALIVES_INTERVAL, TCP_USER_TIMEOUT
from poolmgr.secrets import scrub


def connection_parameters(given: dict[str, Any], timeout: float) -> dict[str, Any]:
    """``given``, with what bounds a silent host and what tells a server's administrator whose connection it is.

    libpq takes the fallback where nothing else names the application: no parameter, no service, no ``PGAPPNAME``.
    ``timeout`` is that of a checkout, in seconds.
    """
    return default_parameters({"fallback_application_name": application_name(), **given}, timeout)


def default_parameters(given: dict[str, Any], connection_timeout: float) -> dict[str, Any]:
    """Connection parameters that bound how long a silent host is believed, where ``given`` doesn't set its own.

    ``connect_timeout`` is in whole seconds, ``tcp_user_timeout`` in milliseconds, as libpq has them.
    """
    defaults: dict[str, Any] = {"connect_timeout": max(2, min(10, int(connection_timeout + 0.999)))}
    if sys.platform == "linux":
        defaults |= {"keepalives_idle": KEEPALIVES_IDLE, "keepalives_interval": KEEPALIVES_INTERVAL}
        defaults |= {"keepalives_count": KEEPALIVES_COUNT, "tcp_user_timeout": TCP_USER_TIMEOUT}
    return {**defaults, **given}


def address(settings_dict: dict[str, Any]) -> str:
    """Where a database is, for people: host, port and name."""
    got = settings_dict
    return scrub(f"{got['HOST'] or 'local socket'}:{got['PORT'] or 5432}/{got['NAME']}")
