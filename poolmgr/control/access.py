"""The control database, as background work uses it: on the console lane, and nothing held afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta

import psycopg
from django.db import connections, transaction
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Now
from django.db.utils import DatabaseError

from poolmgr.conf import conf
from poolmgr.exceptions import CheckoutError, ConfigurationError
from poolmgr.metrics.phrases import as_phrase, bare, phrase
from poolmgr.pools.diagnosis import diagnose
from poolmgr.pools.lane import console_lane
from poolmgr.secrets import scrub

#: Seconds that a transaction may stand still. A process that is frozen in the middle of one, or whose host is gone without a
#: word, would keep its locks from the rest of the fleet for as long as the server takes it for alive.
_STANDSTILL = 5.0
#: What PostgreSQL calls a table that is not there.
_UNDEFINED_TABLE = "42P01"


#: Whose error it is, where nothing else is said.
_CONTROL = phrase("The control database")


def control_alias() -> str:
    return conf().CONTROL_DATABASE


@contextmanager
def control_database() -> Iterator[str]:
    """The control database's alias, for a stretch of work after which its connection is let go.

    Inside a transaction that began before (a task run in place by a request or a test) the connection stays.
    """
    alias = control_alias()
    with console_lane():
        try:
            yield alias
        finally:
            if not connections[alias].in_atomic_block:
                connections[alias].close()


@contextmanager
def control_transaction() -> Iterator[str]:
    """A transaction at the control database, whoever asks: its pool's mode may be the one that refuses them."""
    alias = control_alias()
    bound = standstill(_STANDSTILL)
    with console_lane(), transaction.atomic(using=alias):
        if bound:
            with connections[alias].cursor() as cursor:
                cursor.execute(f"SELECT {bound}")
        yield alias


def standstill(seconds: float) -> str:
    """SQL, for the beginning of the transaction that is to begin, which ends it when it stands still for so long.

    None is needed in a transaction that began before, whose end is somebody else's, and only PostgreSQL has it.
    """
    connection = connections[control_alias()]
    if connection.vendor != "postgresql" or connection.in_atomic_block:
        return ""
    return f"set_config('idle_in_transaction_session_timeout', '{1000 * seconds:.0f}', true)"


def from_now(duration: timedelta) -> CombinedExpression:
    """A time by the control database's own clock: those of the fleet's hosts may disagree."""
    return Now() + duration


@contextmanager
def sheltered() -> Iterator[None]:
    """Keep an error of the control database from spoiling a transaction that is open around this."""
    alias = control_alias()
    with transaction.atomic(using=alias) if connections[alias].in_atomic_block else nullcontext():
        yield


def try_lock(name: str) -> bool:
    """Take the lock ``name`` until the end of the present transaction, unless somebody has it. Raises ``django.db.Error``.

    Other databases than PostgreSQL have no such lock; there everybody gets it, and unique rows have to do.
    """
    connection = connections[control_alias()]
    if connection.vendor != "postgresql":
        return True
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))", [f"poolmgr:{name}"])
        return bool(cursor.fetchone()[0])


def is_unmigrated(error: BaseException) -> bool:
    """True for the error of a table that does not exist: poolmgr is installed but not migrated."""
    if getattr(error.__cause__, "sqlstate", None) == _UNDEFINED_TABLE:
        return True
    return isinstance(error, DatabaseError) and "no such table" in str(error)


def sentence_of(error: BaseException, database: str = _CONTROL) -> str:
    """An error of ``database``, or of its setting, as one sentence without secrets."""
    if isinstance(error, ConfigurationError):
        return f"{str(error).rstrip('.')}."
    if is_unmigrated(error):
        return phrase("The tables of poolmgr are not in the control database; run manage.py migrate.")
    if isinstance(error.__cause__ or error, psycopg.Error | CheckoutError):
        why = bare(diagnose(error).sentence)
    else:
        why = scrub(str(error).strip() or type(error).__name__)[:200]
    return phrase("%(database)s can't be used: %(error)s.", database=as_phrase(database), error=why)
