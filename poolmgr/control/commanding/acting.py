"""Cancelling a statement or ending a session of one checkout: written down before it is done, and with what became of it."""

from __future__ import annotations

from poolmgr.control.access import control_alias
from poolmgr.control.commanding.asking import ask
from poolmgr.control.events import record
from poolmgr.control.inquiry import Answer, What
from poolmgr.control.store import StoreDown
from poolmgr.exceptions import ConfigurationError
from poolmgr.metrics.decoding import Unreadable
from poolmgr.metrics.phrases import cut, phrase
from poolmgr.metrics.snapshot import Holder, ProcessBeat
from poolmgr.models import Event

_DONE = {What.CANCEL: phrase("cancelled"), What.END: phrase("ended")}
_LONGEST_WHO = 300


def act_on(what: What, beat: ProcessBeat, target: str, holder: Holder, author: str) -> tuple[bool, str]:
    """Order ``what`` for the checkout of ``holder``: whether it is known to have been done, and what became of it.

    Raises ``django.db.Error``, and then nothing was done.
    """
    event = record(Event.Kind.COMMAND, target, author, _ordered(what, beat, target, holder))
    try:
        answer, trouble = ask(beat, what, target, holder.checkout, author), ""
    except (StoreDown, ConfigurationError, Unreadable) as error:
        answer, trouble = None, str(error)
    said = _outcome(what, answer, trouble)
    event.sentence = phrase("%(what)s: %(said)s", what=event.sentence, said=said)
    event.save(using=control_alias(), update_fields=["message", "message_told"])
    return answer is not None and answer.done, said


def _ordered(what: What, beat: ProcessBeat, target: str, holder: Holder) -> str:
    """As the audit log has it."""
    place = f"{beat.host}:{beat.pid}"
    who = phrase("%(who)s at %(target)s in %(place)s", who=cut(holder.who, _LONGEST_WHO), target=target, place=place)
    if what is What.CANCEL:
        return phrase("cancel the statement of %(who)s", who=who)
    return phrase("end the session of %(who)s", who=who)


def _outcome(what: What, answer: Answer | None, trouble: str) -> str:
    if answer is None:
        return trouble or phrase("its process has not answered in time")
    if answer.done:
        return _DONE[what]
    return answer.why or phrase("it was over by then, and nobody else was touched")
