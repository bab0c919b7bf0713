"""How a physical connection meets Django: in Django's own ``connect()``, once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db.backends.signals import connection_created

from poolmgr.backends.postgresql.explicit import OWN
from poolmgr.backends.postgresql.patches import Django
from poolmgr.secrets import disarm
from poolmgr.targets.postgresql.session import SessionEntry


class Handing:
    """In the place of a pool while Django's ``connect()`` runs: it finds the connection that is there already."""

    def __init__(self, wrapper: Any) -> None:
        self._wrapper = wrapper

    def open(self) -> None:
        pass

    def getconn(self) -> Any:
        conn, self._wrapper._greeting = self._wrapper._greeting, None
        return conn


def greet(wrapper: Any, conn: Any, entry: SessionEntry, connect: Callable[[], None]) -> None:
    """Have ``connect``, Django's, find ``conn``: all that it, a subclass, a hook or a tracer does to a new connection.

    What fails there gives the connection back.
    """
    greeted, by, pins = connection_created.receivers[:], Django.connect, set(entry.pins)
    wrapper.__dict__.setdefault("pg_version", conn.info.server_version)
    wrapper._busy += 1
    wrapper._greeting, wrapper.connection = conn, None
    # A hook of a commit may be who takes it: Django's connect() must not run the others, without the connection, now.
    pending, wrapper.run_commit_hooks_on_set_autocommit_on = wrapper.run_commit_hooks_on_set_autocommit_on, False
    try:
        connect()
        wrapper.close_at = None  # CONN_MAX_AGE is for connections without a pool
        # What these hooks set belongs to the connection, not to its first borrower. What the site's subclass has set
        # for their cursors does not: that is this borrower's tenant.
        entry.pins &= pins | {OWN}
        entry.greeted, entry.greeted_by = greeted, by
        if getattr(wrapper.connection, "entry", None) is entry:
            wrapper.connection = conn  # whatever a tracer has wrapped it in
    except BaseException:
        if wrapper._greeting is not None:  # connect() has not come as far as to find it
            wrapper.connection = conn
        wrapper.close()
        raise
    finally:
        wrapper.run_commit_hooks_on_set_autocommit_on = pending
        wrapper._greeting = None
        wrapper._busy -= 1


def connect_directly(wrapper: Any, connect: Callable[[], None]) -> None:
    """Have Django open a connection that is none of the pool's."""
    wrapper._direct = True
    wrapper._busy += 1
    try:
        connect()
    except BaseException as ex:
        if wrapper.connection is None:
            # The frames below know how we connect. Later ones are of hooks, and are wanted.
            disarm(ex)
        raise
    finally:
        wrapper._busy -= 1
