"""What of a database's settings doesn't go with a pooler before its server, such as a PgBouncer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.checks import CheckMessage, Warning

from poolmgr.pools.spec import PoolSpec
from poolmgr.targets.postgresql.examining import Between, examine

#: Where PgBouncer listens unless told otherwise; nothing else in the settings tells it from a PostgreSQL.
PGBOUNCER_PORT = "6432"

_LOST = {
    "prepare_threshold": (
        "prepare_threshold makes prepared statements, which are not found again where the next statement runs.",
        "Leave prepare_threshold out, or take a PgBouncer from version 1.21 on with max_prepared_statements.",
    ),
    "cursors": (
        "iterator() opens server-side cursors, which are lost between two fetches.",
        "Set DISABLE_SERVER_SIDE_CURSORS to True.",
    ),
    "assume_role": (
        "assume_role is set once for each connection, and holds for whoever gets that server connection.",
        "Leave assume_role out and have the user log in with that role, or have the pooler pool by session.",
    ),
    "transactions": (
        "each atomic() fails, since a transaction takes several statements.",
        "Have the pooler pool by transaction.",
    ),
    "exempt": (
        "what this pool's statement mode allows the admin and commands such as migrate fails: their transactions.",
        "Have the pooler pool by transaction.",
    ),
}


def check_pooler(alias: str, got: dict[str, Any], spec: PoolSpec, may_connect: bool) -> Iterator[CheckMessage]:
    """W004: for certain where the check may connect, else by the port."""
    found = _examine(alias) if may_connect else None
    if found is None:
        if str(got["PORT"]) != PGBOUNCER_PORT:
            return
        leads = f"seems to lead to a PgBouncer (port {PGBOUNCER_PORT}), which most often pools by transaction"
        asking = f" manage.py check --database {alias} connects, and knows what is there."
        found = Between("transaction", keeps_prepared=False)
    else:
        leads, asking = f"leads to a pooler that pools by {found.pools_by}", ""
    for reason in _unfit(got, spec, found):
        problem, remedy = _LOST[reason]
        yield Warning(f"DATABASES[{alias!r}] {leads}: {problem}", hint=remedy + asking, id="poolmgr.W004")


def _examine(alias: str) -> Between | None:
    try:
        return examine(alias)
    except Exception:  # whatever keeps the server from an answer, others tell
        return None


def _unfit(got: dict[str, Any], spec: PoolSpec, found: Between) -> Iterator[str]:
    if found.pools_by in ("", "session"):
        return
    if got["OPTIONS"].get("prepare_threshold") is not None and not found.keeps_prepared:
        yield "prepare_threshold"
    if not got.get("DISABLE_SERVER_SIDE_CURSORS"):
        yield "cursors"
    if got["OPTIONS"].get("assume_role"):
        yield "assume_role"
    if found.pools_by == "statement":
        yield "exempt" if spec.pool_mode == "statement" else "transactions"
