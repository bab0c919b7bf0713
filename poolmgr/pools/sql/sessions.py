"""What a PostgreSQL server tells of its sessions, as an operator may read it."""

from __future__ import annotations

from typing import Any

from poolmgr.metrics.blocking import Group, Session
from poolmgr.metrics.words import plain
from poolmgr.pools.sql.statements import told_statement
from poolmgr.secrets import scrub

#: What it says instead of a statement that our role may not see.
_HIDDEN = "<insufficient privilege>"
#: Characters of a name.
_LONGEST = 100
_STATES = {
    "active": "running",
    "idle": "idle",
    "idle in transaction": "in transaction",
    "idle in transaction (aborted)": "failed transaction",
}


def session(told: dict[str, Any], prepared: dict[str, Any] | None) -> Session:
    """One that waits or is in somebody's way; ``prepared`` is the oldest transaction that was prepared and left so.

    Which of several it is that blocks, the server doesn't tell.
    """
    if not told["pid"]:
        about = prepared or {"gid": "", "owner": "", "seconds": None}
        gid, owner = name_of(about["gid"]), name_of(about["owner"])
        return Session(0, "prepared", name=gid, user=owner, seconds=float(about["seconds"] or 0))
    query = told["query"] or ""
    return Session(
        told["pid"],
        "client" if told["client"] or (told["type"] is None and told["role"]) else "server",
        name=name_of(told["name"] if told["client"] else told["type"] or told["name"]),
        user=_role(told["role"]),
        address=told["address"] or "",
        state=_STATES.get(told["state"] or "", ""),
        seconds=_seconds(told["seconds"]),
        waits=_seconds(told["waits"]),
        blocked_by=tuple(sorted(told["by"] or ())),
        statement="" if query in ("", _HIDDEN) else told_statement(query, cut=True),
        hidden=query == _HIDDEN,
    )


def group(told: dict[str, Any]) -> Group:
    return Group(name_of(told["name"]), _role(told["role"]), told["address"] or "", tuple(told["pids"]))


def _seconds(value: Any) -> float:
    """Since a moment by the server's clock; one that lies a little ahead of the question's is now."""
    return max(0.0, float(value or 0))


def _role(told: str | None) -> str:
    return name_of(bytes.fromhex(told or "").decode(errors="replace"))


def name_of(text: str | None) -> str:
    """A name that somebody else has chosen."""
    return scrub(plain(text or ""))[:_LONGEST]
