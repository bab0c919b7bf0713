"""What cuts clients of a PgBouncer off: KILL, and DISABLE until ENABLE, of each database that the target names."""

from __future__ import annotations

from collections.abc import Callable, Collection
from time import monotonic, sleep

from poolmgr.exceptions import ServerDown
from poolmgr.targets.pgbouncer.console import LOGINS, PATIENCE, Console, let_log_in
from poolmgr.targets.pgbouncer.words import named

#: Of each command the column of SHOW DATABASES that tells whether it was done, and what it then tells.
_TELLS = {"kill": ("paused", True), "disable": ("disabled", True), "enable": ("disabled", False)}
#: Seconds that clients in the middle of their login are waited for after a KILL, and between two looks at them.
_REFUSED, _LOOK = 3.0, 0.02


def cut_off(url: str, target: str, command: str, databases: tuple[str, ...], may_act: Callable[[], bool]) -> None:
    """Of one process of PgBouncer's, over a connection of its own. All are tried; what is not so then is told.

    What a line of * serves is not listed once it has no clients, and is as it was ordered when the next one comes.
    Raises ``CheckoutError``.
    """
    console = Console(url, target)
    try:
        with console.within(PATIENCE + LOGINS * len(databases) + _REFUSED):
            present = {str(row["name"]): bool(row["disabled"]) for row in console.rows("DATABASES")}
            there = [name for name in databases if name in present]
            if command == "kill":
                stuck = _kill(console, {name: present[name] for name in there}, may_act)
            else:
                stuck = []
                for name in there:
                    # Another process may lead by now, and have been told otherwise.
                    if may_act():
                        console.order(f"{command.upper()} {named(name)}")
            column, wanted = _TELLS[command]
            now = {str(row["name"]): bool(row[column]) for row in console.rows("DATABASES")}
    finally:
        console.close()
    if missing := [name for name in databases if name not in present]:
        raise ServerDown(f"it has no database {_listed(missing)}", target)
    if otherwise := [name for name in databases if now.get(name, wanted) is not wanted]:
        raise ServerDown(f"it did not {command.upper()} {_listed(otherwise)}", target)
    if stuck:
        raise ServerDown(_STUCK.format(names=_listed(stuck)), target)


def let_in(url: str, target: str, databases: Collection[str], may_act: Callable[[], bool]) -> None:
    """Undo what a kill leaves whose process died in the middle of it. Raises ``CheckoutError``."""
    console = Console(url, target)
    try:
        with console.within(PATIENCE + _REFUSED):
            disabled = [str(row["name"]) for row in console.rows("DATABASES") if row["disabled"]]
            ours = [name for name in disabled if name in databases]
            if ours and not _let_end(console):
                raise ServerDown(
                    f"somebody is in the middle of logging in, for whom {_listed(ours)} stays disabled", target
                )
            for name in ours:
                if may_act():
                    console.order(f"ENABLE {named(name)}")
    finally:
        console.close()


def _kill(console: Console, disabled: dict[str, bool], may_act: Callable[[], bool]) -> list[str]:
    """Kill each; those that stay disabled, since a login would not end. ``disabled`` are those that were, before.

    A client that is logging in when its database is killed would go on in what PgBouncer has freed, by which it crashes or
    stands still for ever: every version to 1.25. One that is refused at its login's end does not.
    """
    ours: list[str] = []
    stuck = False
    try:
        for name, already in disabled.items():
            let_log_in(console, name)
            if not may_act():
                continue
            if not already:
                console.order(f"DISABLE {named(name)}")
                ours.append(name)
            console.order(f"KILL {named(name)}")
    finally:
        if ours and not (stuck := not _let_end(console)):
            for name in ours:
                console.order(f"ENABLE {named(name)}")
    return ours if stuck else []


def _let_end(console: Console) -> bool:
    """Wait until no login is under way that is now; whether that came true in time."""
    until, left = monotonic() + _REFUSED, _logging_in(console)
    while left and monotonic() < until:
        sleep(_LOOK)
        left &= _logging_in(console)
    return not left


def _logging_in(console: Console) -> set[tuple[str, ...]]:
    if not next(int(row["items"]) for row in console.rows("LISTS") if row["list"] == "login_clients"):
        return set()  # without listing all clients
    # Who has not said to which database is in no pool yet.
    rows = [row for row in console.rows("SOCKETS") if row["state"] == "cl_login" and row["database"] != "(nodb)"]
    return {tuple(str(row[name]) for name in ("ptr", "connect_time", "addr", "port")) for row in rows}


def _listed(names: Collection[str]) -> str:
    return ", ".join(map(repr, names))


_STUCK = (
    "{names}: its clients are cut off, and it stays disabled, since somebody is in the middle of logging in, who would crash"
    " PgBouncer by going on: enable it in a minute"
)
