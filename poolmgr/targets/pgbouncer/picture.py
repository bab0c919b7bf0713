"""What one look at a console tells, in numbers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from poolmgr.metrics.snapshot import Holder
from poolmgr.pools.snapshots import HOLDERS
from poolmgr.targets.pgbouncer.console import Console

#: So many clients are listed at each look; more of them now and then alone.
MANY = 500


@dataclass(frozen=True, slots=True)
class Sums:
    """What has come together since PgBouncer started; seconds. ``assigned`` is None below version 1.23."""

    transactions: int = 0
    assigned: int | None = None
    wait: float = 0.0
    use: float = 0.0

    def since(self, before: Sums) -> Sums:
        """What came since; all of it where PgBouncer was started anew meanwhile."""
        if self.transactions < before.transactions:
            return self
        assigned = None if self.assigned is None else self.assigned - (before.assigned or 0)
        return Sums(
            self.transactions - before.transactions, assigned, self.wait - before.wait, max(0.0, self.use - before.use)
        )

    def __add__(self, other: Sums) -> Sums:
        assigned = None if self.assigned is None or other.assigned is None else self.assigned + other.assigned
        return Sums(self.transactions + other.transactions, assigned, self.wait + other.wait, self.use + other.use)


@dataclass(frozen=True, slots=True)
class Database:
    """One that the target names; ``own`` are the settings that its line in the file has, which SET doesn't reach."""

    name: str
    there: bool
    paused: bool = False
    disabled: bool = False
    most: int = 0
    own: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Picture:
    """``at`` is on the monotonic clock. ``capacity`` is the most server connections of the pools that there are now."""

    at: float
    config: Mapping[str, str]
    databases: tuple[Database, ...]
    idle: int = 0
    used: int = 0
    opening: int = 0
    pending: int = 0
    oldest_wait: float = 0.0
    capacity: int = 0
    sums: Sums = Sums()
    holders: tuple[Holder, ...] = ()
    pids: tuple[int, ...] = ()
    listed: bool = True  # whether anybody asked for the two before
    halted: str = ""  # what somebody did to all of it on a console: "paused" or "suspended"; unknown below version 1.19

    def has(self, database: str) -> bool:
        return any(each.there and each.name == database for each in self.databases)

    @property
    def paused(self) -> bool:
        """Whether all of them are, as far as they are there."""
        there = [each for each in self.databases if each.there]
        return bool(there) and all(each.paused for each in there)


def look(console: Console, names: Collection[str], now: float, holders: bool) -> Picture:
    """Raises as the console does. ``holders`` asks for them however many clients there are."""
    config = {str(row["key"]): _text(row["value"]) for row in console.rows("CONFIG")}
    pools = [row for row in console.rows("POOLS") if row["database"] in names]
    databases = _databases(console.rows("DATABASES"), names, config)
    clients = sum(_sum(pools, name) for name in ("cl_active", "cl_waiting"))
    listed = holders or clients <= MANY
    found, pids = _holders(console, names) if listed else ((), ())
    return Picture(
        at=now,
        config=config,
        databases=databases,
        idle=_sum(pools, "sv_idle") + _sum(pools, "sv_used"),
        used=sum(_sum(pools, name) for name in ("sv_active", "sv_active_cancel", "sv_being_canceled")),
        opening=_sum(pools, "sv_login") + _sum(pools, "sv_tested"),
        pending=_sum(pools, "cl_waiting"),
        oldest_wait=max((_longest(row) for row in pools if row["cl_waiting"]), default=0.0),
        capacity=_capacity(pools, databases),
        sums=_sums(row for row in console.rows("STATS") if row["database"] in names),
        holders=found,
        pids=pids,
        listed=listed,
        halted=_halted(console.rows_if_known("STATE")),
    )


def _longest(row: dict[str, Any]) -> float:
    return int(row["maxwait"]) + int(row["maxwait_us"]) / 1e6


def _halted(rows: list[dict[str, Any]]) -> str:
    return next((str(row["key"]) for row in rows if row["key"] != "active" and row["value"] == "yes"), "")


def _databases(rows: list[dict[str, Any]], names: Collection[str], config: Mapping[str, str]) -> tuple[Database, ...]:
    found = {row["name"]: row for row in rows}
    return tuple(_database(name, found.get(name), config) for name in names)


def _database(name: str, row: dict[str, Any] | None, config: Mapping[str, str]) -> Database:
    if row is None:
        return Database(name, there=False)
    own = {}
    for column, setting in (
        ("pool_size", "default_pool_size"),
        ("min_pool_size", "min_pool_size"),
        ("max_connections", "max_db_connections"),
        ("pool_mode", "pool_mode"),
        ("server_lifetime", "server_lifetime"),  # from version 1.24 on
    ):
        value = _text(row.get(column))
        if value and setting in config and value != config[setting]:
            own[setting] = value
    most, bound = int(row.get("pool_size") or 0), int(row.get("max_connections") or 0)
    return Database(
        name,
        there=True,
        paused=bool(row["paused"]),
        disabled=bool(row["disabled"]),
        most=min(most, bound) if bound else most,
        own=own,
    )


def _capacity(pools: list[dict[str, Any]], databases: Iterable[Database]) -> int:
    """Each user of a database has a pool of its own; one that nobody uses yet counts once."""
    users = {each.name: sum(row["database"] == each.name for row in pools) for each in databases}
    return sum(each.most * max(1, users[each.name]) for each in databases if each.there)


def _sums(rows: Iterable[dict[str, Any]]) -> Sums:
    found = Sums(assigned=0)
    for row in rows:
        assigned = row.get("total_server_assignment_count")
        found += Sums(
            int(row["total_xact_count"]),
            None if assigned is None else int(assigned),
            float(row["total_wait_time"]) / 1e6,
            float(row["total_xact_time"]) / 1e6,
        )
    return found


def _holders(console: Console, names: Collection[str]) -> tuple[tuple[Holder, ...], tuple[int, ...]]:
    """Clients that have a server connection, those first whose last request is the oldest; and the servers' processes."""
    clients, servers = console.rows("CLIENTS"), console.rows("SERVERS")
    # The times are PgBouncer's own; one of the rows is this question's.
    now = max((_moment(row["request_time"]) for row in clients), default=datetime.min)
    ends = {row["ptr"]: int(row["remote_pid"] or 0) for row in servers if row["database"] in names}
    held = [
        Holder(_client(row), max(0.0, (now - _moment(row["request_time"])).total_seconds()), ends[row["link"]])
        for row in clients
        if row["link"] in ends
    ]
    held.sort(key=lambda each: -each.seconds)
    return tuple(held[:HOLDERS]), tuple(pid for pid in ends.values() if pid)


def _client(row: dict[str, Any]) -> str:
    name = row.get("application_name")
    where = f"{row['user']}@{row['database']} from {row['addr']}:{row['port']}"
    return (f"{name}, {where}" if name else where)[:200]


def _moment(text: Any) -> datetime:
    """PgBouncer adds the name of its time zone, which may mean anything; all are in the same."""
    try:
        return datetime.fromisoformat(str(text)[:19])
    except ValueError:
        return datetime.min


def _sum(rows: list[dict[str, Any]], name: str) -> int:
    return sum(int(row.get(name) or 0) for row in rows)


def _text(value: Any) -> str:
    return "" if value is None else str(value)
