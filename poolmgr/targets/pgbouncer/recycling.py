"""Replacing the server connections of a PgBouncer: RECONNECT, and a look at who is left."""

from __future__ import annotations

from poolmgr.exceptions import ServerDown
from poolmgr.targets.pgbouncer.console import LOGINS, PATIENCE, Console, let_log_in
from poolmgr.targets.pgbouncer.words import named


class Recycling:
    """Of one process of PgBouncer's, over a connection of its own. Every method but ``close()`` raises ``CheckoutError``.

    Never WAIT_CLOSE, which would do the waiting: after it every later PAUSE of the database is answered at once.
    """

    def __init__(self, url: str, target: str, databases: tuple[str, ...]) -> None:
        self._console, self._target = Console(url, target), target
        self._databases = databases
        self._old: set[tuple[str, str, int]] = set()

    def begin(self) -> int:
        """Have PgBouncer replace each as it comes back; how many there are."""
        with self._console.within(PATIENCE + LOGINS * len(self._databases)):
            present = {str(row["name"]) for row in self._console.rows("DATABASES")}
            if not present.intersection(self._databases):
                raise ServerDown(f"it has no database {', '.join(map(repr, self._databases))}", self._target)
            self._old = self._servers()
            for each in self._databases:
                if each in present:
                    let_log_in(self._console, each)
                    self._console.order(f"RECONNECT {named(each)}")
        return len(self._old)

    def left(self) -> int:
        """How many of the old ones are there still."""
        with self._console.within():
            self._old &= self._servers()
        return len(self._old)

    def close(self) -> None:
        self._console.close()

    def _servers(self) -> set[tuple[str, str, int]]:
        # Its places for them are used again.
        return {
            (str(row["ptr"]), str(row["connect_time"]), int(row["local_port"] or 0))
            for row in self._console.rows("SERVERS")
            if row["database"] in self._databases
        }
