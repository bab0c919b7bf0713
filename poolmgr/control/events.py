"""The audit log."""

from __future__ import annotations

from poolmgr.control.access import control_alias
from poolmgr.models import Event


def record(kind: str, target: str, author: str, message: str) -> Event:
    """Write a line of the audit log. Raises ``django.db.Error``."""
    event = Event(kind=kind, target=target, author=author, message=message[:500])
    event.save(using=control_alias())
    return event
