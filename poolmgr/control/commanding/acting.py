"""Cancelling a statement or ending a session of one checkout: written down before it is done, and with what became of it."""

from __future__ import annotations

from poolmgr.control.access import control_alias
from poolmgr.control.commanding.asking import ask
from poolmgr.control.events import record
from poolmgr.control.inquiry import Answer, What
from poolmgr.control.store import StoreDown
from poolmgr.exceptions import ConfigurationError
from poolmgr.metrics.decoding import Unreadable
from poolmgr.metrics.snapshot import Holder, ProcessBeat
from poolmgr.models import Event

_DONE = {What.CANCEL: "cancelled", What.END: "ended"}
#: In the audit log.
_ORDERED = {What.CANCEL: "cancel the statement of", What.END: "end the session of"}
_LONGEST_WHO = 300


def act_on(what: What, beat: ProcessBeat, target: str, holder: Holder, author: str) -> tuple[bool, str]:
    """Order ``what`` for the checkout of ``holder``: whether it is known to have been done, and what became of it.

    Raises ``django.db.Error``, and then nothing was done.
    """
    who = f"{holder.who[:_LONGEST_WHO]} at {target} in {beat.host}:{beat.pid}"
    event = record(Event.Kind.COMMAND, target, author, f"{_ORDERED[what]} {who}")
    try:
        answer, trouble = ask(beat, what, target, holder.checkout, author), ""
    except (StoreDown, ConfigurationError, Unreadable) as error:
        answer, trouble = None, str(error)
    said = _outcome(what, answer, trouble)
    event.message = f"{event.message}: {said}"[:500]
    event.save(using=control_alias(), update_fields=["message"])
    return answer is not None and answer.done, said


def _outcome(what: What, answer: Answer | None, trouble: str) -> str:
    if answer is None:
        return trouble or "its process has not answered in time"
    if answer.done:
        return _DONE[what]
    return answer.why or "it was over by then, and nobody else was touched"
