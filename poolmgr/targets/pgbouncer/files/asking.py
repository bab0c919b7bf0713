"""What a server tells of its users: the verifiers by which it knows them, where an account may read those."""

from __future__ import annotations

from collections.abc import Collection

import psycopg
from psycopg.conninfo import make_conninfo

from poolmgr.pools.diagnosis import diagnose
from poolmgr.pools.sql.processes import of_another
from poolmgr.secrets import disarm
from poolmgr.targets.pgbouncer.files.behind import Alias

_WORDS = (
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "passfile",
)
_SECONDS = 5


def verifiers(of: Alias, users: Collection[str]) -> tuple[dict[str, str], str]:
    """By user, and what there is to say of it without its full stop: "" also where the account may not read them."""
    known = {word: str(of.params[word]) for word in _WORDS if of.params.get(word)}
    try:
        with psycopg.connect(make_conninfo(**known), connect_timeout=_SECONDS, prepare_threshold=None) as connection:
            connection.execute(f"SET LOCAL statement_timeout = '{_SECONDS}s'")
            if connection.execute(of_another(connection.info.backend_pid)).fetchone():
                return {}, f"DATABASES[{of.name!r}] leads to a pooler itself, maybe this one: choose another by --from"
            rows = connection.execute(
                "SELECT rolname, rolpassword FROM pg_catalog.pg_authid WHERE rolname = ANY(%s) AND rolpassword IS NOT NULL",
                [list(users)],
            ).fetchall()
    except psycopg.errors.InsufficientPrivilege:
        return {}, ""
    except (psycopg.Error, OSError) as error:
        return {}, f"DATABASES[{of.name!r}] can't be asked for verifiers: {diagnose(disarm(error)).sentence}"
    return {str(user): str(entry) for user, entry in rows}, ""
