"""What cuts clients of a PgBouncer off: KILL, and DISABLE until ENABLE, of each database that the target names."""

from __future__ import annotations

from collections.abc import Callable

from poolmgr.exceptions import ServerDown
from poolmgr.targets.pgbouncer.console import LOGINS, PATIENCE, Console, let_log_in
from poolmgr.targets.pgbouncer.words import named

#: Of each command the column of SHOW DATABASES that tells whether it was done, and what it then tells.
_TELLS = {"kill": ("paused", True), "disable": ("disabled", True), "enable": ("disabled", False)}


def cut_off(url: str, target: str, command: str, databases: tuple[str, ...], may_act: Callable[[], bool]) -> None:
    """Of one process of PgBouncer's, over a connection of its own. All are tried; what is not so then is told.

    What a line of * serves is not listed once it has no clients, and is as it was ordered when the next one comes.

    Raises ``CheckoutError``.
    """
    console = Console(url, target)
    try:
        with console.within(PATIENCE + LOGINS * len(databases)):
            present = {str(row["name"]) for row in console.rows("DATABASES")}
            for name in databases:
                if name in present and command == "kill":
                    let_log_in(console, name)
                # Another process may lead by now, and have been told otherwise.
                if name in present and may_act():
                    console.order(f"{command.upper()} {named(name)}")
            column, wanted = _TELLS[command]
            now = {str(row["name"]): bool(row[column]) for row in console.rows("DATABASES")}
    finally:
        console.close()
    if missing := [name for name in databases if name not in present]:
        raise ServerDown(f"it has no database {', '.join(map(repr, missing))}", target)
    if otherwise := [name for name in databases if now.get(name, wanted) is not wanted]:
        raise ServerDown(f"it did not {command.upper()} {', '.join(map(repr, otherwise))}", target)
