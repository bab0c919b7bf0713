"""Why a connection could not be opened, whatever the driver: the words of several servers."""

from __future__ import annotations

from poolmgr.exceptions import AuthenticationFailed, ServerDown, ServerFull
from poolmgr.metrics.phrases import phrase
from poolmgr.pools import diagnosis
from poolmgr.pools.core.driver import NoAnswer
from poolmgr.pools.diagnosis import Diagnosis, Words
from poolmgr.targets.sqlalchemy.library import sqlalchemy

#: What libpq doesn't say: MySQL and MariaDB, SQLite, event loops.
_WORDS = Words(
    (AuthenticationFailed, phrase("the server refuses the user or the password"), r"access denied for user"),
    (AuthenticationFailed, phrase("the database does not exist"), r"unknown database"),
    (ServerFull, phrase("the server has no connection slot left"), r"max_user_connections|too many connections"),
    (ServerDown, phrase("nothing listens at the address"), r"connect call failed"),
    (ServerDown, phrase("the database file can't be opened"), r"unable to open database file"),
    (
        ServerDown,
        phrase("the server closed the connection"),
        r"server has gone away|lost connection to (?:mysql|server)",
    ),
)


#: What errors of drivers derive from: as PEP 249 has it, and asyncpg's own, which SQLAlchemy 2.0 passes on from a connect.
_DRIVERS_ERRORS = frozenset({"Error", "PostgresError", "InterfaceError", "InternalClientError"})


def is_of_the_server(error: BaseException) -> bool:
    """Whether driver or system tell of a server that can't be reached or refuses; else the site's own code failed."""
    if isinstance(error, OSError | NoAnswer | sqlalchemy.exc.DBAPIError | sqlalchemy.exc.DisconnectionError):
        return True
    return any(each.__name__ in _DRIVERS_ERRORS for each in type(error).__mro__)


def diagnose(error: BaseException) -> Diagnosis:
    """Classify the error of a connect, or of a question of ours on a connection."""
    if isinstance(error, NoAnswer):
        return Diagnosis(ServerDown, phrase("the server does not answer"))
    return _WORDS.find(error) or diagnosis.diagnose(error)
