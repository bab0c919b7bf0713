"""The audit log."""

from __future__ import annotations

from poolmgr.conf import conf
from poolmgr.control.access import control_alias
from poolmgr.metrics.phrases import counted, phrase
from poolmgr.models import Event

#: Dead processes with an event of their own; a store may be full of names.
_NAMED = 100


def record(kind: str, target: str, author: str, message: str) -> Event:
    """Write a line of the audit log. Raises ``django.db.Error``."""
    event = Event(kind=kind, target=target, author=author)
    event.sentence = message
    event.save(using=control_alias())
    return event


def record_dead(uids: tuple[str, ...]) -> None:
    """A line for each process that ended without a word. Raises ``django.db.Error``."""
    silent = float(conf().PROCESS_TTL)
    for uid in uids[:_NAMED]:
        said = phrase("Process %(uid)s ended without a word; no heartbeat for %(time)s s.", uid=uid, time=silent)
        record(Event.Kind.PROCESS, "", "", said)
    if rest := len(uids) - len(uids[:_NAMED]):
        more = counted(
            rest,
            "%(n)s more process ended without a word; no heartbeat for %(time)s s.",
            "%(n)s more processes ended without a word; no heartbeat for %(time)s s.",
            time=silent,
        )
        record(Event.Kind.PROCESS, "", "", more)
