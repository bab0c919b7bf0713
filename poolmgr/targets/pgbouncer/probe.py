"""One look at a PgBouncer: whether its console answers, how many clients it has room for, and who waits for long."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, perf_counter

from poolmgr.metrics.health import Verdict
from poolmgr.metrics.phrases import phrase
from poolmgr.metrics.words import span
from poolmgr.pools import declaring
from poolmgr.pools.looking import Look
from poolmgr.targets.pgbouncer.console import Console
from poolmgr.targets.pgbouncer.consoles import Place, databases, places
from poolmgr.targets.pgbouncer.kind import PGBOUNCER

#: Seconds that a client may wait before it is worth a warning.
_LONG = 1.0


def look(target: str, look: Look, query: Callable[[], str], deadline: float, silence: float) -> None:
    """As ``pools.looking.Prober`` has it, over all consoles of the target; the slowest one's times count."""
    each = declaring.declared(PGBOUNCER)[target]
    for place in places(each):
        look.address = place.address
        _look(target, place, databases(each), look, deadline)
    look.connected = True


def _look(target: str, place: Place, names: tuple[str, ...], look: Look, deadline: float) -> None:
    console = Console(place.url, target)
    try:
        with console.within(max(0.05, deadline - monotonic())):
            began = perf_counter()
            console.open()
            connected = perf_counter()
            look.version = str(console.rows("VERSION")[0]["version"])
            look.query_time = max(look.query_time or 0.0, perf_counter() - connected)
            look.connect_time = max(look.connect_time or 0.0, connected - began)
            lists = {row["list"]: int(row["items"]) for row in console.rows("LISTS")}
            config = {row["key"]: row["value"] for row in console.rows("CONFIG")}
            present = {row["name"] for row in console.rows("DATABASES")}
            waits = max((_wait(row) for row in console.rows("POOLS") if row["database"] in names), default=0.0)
    finally:
        console.close()
    # This look's own client is gone by the time that anybody reads of it.
    look.used = (look.used or 0) + lists["used_clients"] - 1
    look.most = (look.most or 0) + int(config["max_client_conn"])
    look.verdicts += [
        Verdict(
            "critical", phrase("PgBouncer has no database '%(name)s' (%(address)s).", name=name, address=place.address)
        )
        for name in names
        if name not in present
    ]
    if waits >= _LONG:
        look.verdicts.append(
            Verdict(
                "warning",
                phrase("A client has waited for %(time)s (%(address)s).", time=span(waits), address=place.address),
            )
        )


def _wait(row: dict[str, int]) -> float:
    return int(row["maxwait"]) + int(row["maxwait_us"]) / 1e6
