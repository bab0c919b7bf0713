"""What the programs have in common: Django is set up, and JSON on the last line says how it went."""

import json
import os
import time
from contextlib import AbstractContextManager
from typing import Any


def configure() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.faults.programs.settings"
    import django

    django.setup()


def query(statement: str = "SELECT pg_backend_pid()") -> Any:
    """The first column of the first row."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone()[0] if cursor.description else None


def held() -> AbstractContextManager[Any]:
    """One connection for the block, by a transaction where the mode allows one."""
    from django.db import transaction

    import poolmgr

    return poolmgr.pinned() if poolmgr.pool().spec.pool_mode == "statement" else transaction.atomic()


def quiet(within: float = 5.0) -> float:
    """Wait until nobody has a connection of the pool; the seconds that it took, or that were waited."""
    import poolmgr

    began = time.monotonic()
    while poolmgr.pool().snapshot().used and time.monotonic() - began < within:
        time.sleep(0.02)
    return round(time.monotonic() - began, 2)


def sessions() -> set[int]:
    """This program's connections as the server sees them, asked for beside the pool."""
    import psycopg

    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as console:
        rows = console.execute("SELECT pid FROM pg_stat_activity WHERE application_name = 'program'")
        return {row[0] for row in rows}


def report(**what: Any) -> None:
    print(json.dumps(what), flush=True)
