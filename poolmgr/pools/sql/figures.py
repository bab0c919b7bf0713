"""What a health check asks a PostgreSQL server that is no validation query."""

from __future__ import annotations

from collections.abc import Sequence

from poolmgr.pools.looking import Look

# Other users' rows hide their backend_type; a user and a database mark what takes one of max_connections.
_FIGURES = """
SELECT array(SELECT pid FROM pg_stat_activity WHERE datid IS NOT NULL AND usesysid IS NOT NULL),
       current_setting('max_connections')::int,
       coalesce(current_setting('superuser_reserved_connections', true)::int, 0)
         + coalesce(current_setting('reserved_connections', true)::int, 0),
       current_setting('server_version'),
       array(SELECT application_name FROM pg_stat_activity WHERE datname = current_database() AND usename = current_user
               AND application_name LIKE 'poolmgr:%' AND backend_start < now() - make_interval(secs => {age})),
       (SELECT count(*)::int FROM pg_stat_activity WHERE datname = current_database() AND usename = current_user
               AND application_name LIKE 'poolmgr:%'),
       pg_backend_pid()
"""


def asking(silence: float) -> str:
    """The question, of one row; ``silence`` as ``pools.looking.Prober`` has it."""
    return _FIGURES.format(age=silence)


def fill(look: Look, row: Sequence[object], pid: int) -> None:
    """Note the answer; ``pid`` is the process that the connection was told of when it was let in."""
    look.ids, look.most, look.reserved, version, look.names, named, own = row  # type: ignore[assignment]
    look.version = f"PostgreSQL {version}"
    if own == pid:
        # The probe's own connection is gone by the time that anybody reads this.
        look.used = len(look.ids) - 1
    else:
        # A pooler's connections stay, and bear the name of whoever used them last, who may be gone long since.
        look.behind_pooler, look.used, look.named, look.names = True, len(look.ids), int(named), ()  # type: ignore[call-overload]
