"""The audit log."""

from __future__ import annotations

from poolmgr.conf import conf
from poolmgr.control.access import control_alias
from poolmgr.models import Event

#: Dead processes with an event of their own; a store may be full of names.
_NAMED = 100


def record(kind: str, target: str, author: str, message: str) -> Event:
    """Write a line of the audit log. Raises ``django.db.Error``."""
    event = Event(kind=kind, target=target, author=author, message=message[:500])
    event.save(using=control_alias())
    return event


def record_dead(uids: tuple[str, ...]) -> None:
    """A line for each process that ended without a word. Raises ``django.db.Error``."""
    silent = f"ended without a word; no heartbeat for {conf().PROCESS_TTL:g} s."
    for uid in uids[:_NAMED]:
        record(Event.Kind.PROCESS, "", "", f"Process {uid} {silent}")
    if rest := len(uids) - len(uids[:_NAMED]):
        record(Event.Kind.PROCESS, "", "", f"{rest:,} more processes {silent}")
