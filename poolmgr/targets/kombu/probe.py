"""One connect to a broker: it says that the broker lets us in, and no more."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, perf_counter

from poolmgr.pools.looking import Look
from poolmgr.secrets import disarm
from poolmgr.targets.kombu.applications import address_of, app_of
from poolmgr.targets.kombu.errors import diagnose


def prepare(target: str) -> None:
    """Import the application, and the transport that it has."""
    app_of(target).connection_for_write().get_transport_cls()


def look(target: str, look: Look, query: Callable[[], str], deadline: float, silence: float) -> None:
    """As ``pools.looking.Prober`` has it."""
    failed = None
    try:
        _look(target, look, deadline)
    except Exception as ex:  # each transport has errors of its own
        found = diagnose(disarm(ex))
        failed = found.cls(found.sentence, target)
    if failed is not None:
        raise failed


def _look(target: str, look: Look, deadline: float) -> None:
    connection = app_of(target).connection_for_write()
    look.address = address_of(connection)
    connection.connect_timeout = max(0.05, deadline - monotonic())
    began = perf_counter()
    try:
        # Without kombu's own tries again.
        made = connection.transport.establish_connection()
        look.connect_time = perf_counter() - began
        look.connected = True
        connection.transport.close_connection(made)
    finally:
        connection.release()
