"""The page of one checkout: who has it, what they are at, and their stack now, asked of their process."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe
from msgspec.structs import replace

from poolmgr.control.commanding.asking import ask, remembered
from poolmgr.control.inquiry import Answer, What
from poolmgr.control.reporting.documents.holders import label_of
from poolmgr.control.reporting.pinned import reasons_said
from poolmgr.control.reporting.spoken import spoken
from poolmgr.control.store import StoreDown
from poolmgr.dashboard.entry.access import VIEW, View, may_end_sessions, may_read_statements, staff_only
from poolmgr.dashboard.entry.frame import frame, show
from poolmgr.dashboard.reading.picture import read_now
from poolmgr.dashboard.words.present import HOLDER_STATES, Figure, ago, timed
from poolmgr.exceptions import ConfigurationError
from poolmgr.metrics.decoding import Unreadable
from poolmgr.metrics.phrases import as_phrase
from poolmgr.metrics.snapshot import Holder, ProcessBeat
from poolmgr.targets.known import kind_named, likely_kind_of


def apart(view: View) -> View:
    """Never in a transaction of the whole request, of which the asked process would see nothing until its end."""
    for alias in connections:
        view = transaction.non_atomic_requests(using=alias)(view)
    return view


@dataclass(frozen=True, slots=True)
class Place:
    """Which checkout a page is about."""

    uid: str
    target: str
    checkout: str

    @property
    def address(self) -> str:
        """Of its page."""
        return reverse("poolmgr:holder", kwargs=asdict(self))

    @property
    def orders(self) -> dict[str, str]:
        """The addresses of what may be done to it."""
        orders = (What.CANCEL.value, What.END.value)
        return {order: reverse("poolmgr:holder_order", kwargs={**asdict(self), "order": order}) for order in orders}


@dataclass(frozen=True, slots=True)
class Call:
    """One of a stack: where it is, and that line; whether the code is the site's ``own``, or a library's."""

    text: str
    own: bool


#: In the paths of Python's own modules, of what is installed, and of poolmgr.
_LIBRARIES = re.compile(
    r"[\\/](site-packages|dist-packages|poolmgr|lib[\\/]python3\.\d+)[\\/]|File \"<frozen ", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of a checkout; ``answer`` is None where nobody knows anything. It is ``live`` where its process has just
    said that it is under way, else ``why`` says what keeps that from being known, or that it is over. Whose process is gone
    is ``gone``.
    """

    place: Place
    beat: ProcessBeat | None
    answer: Answer | None
    live: bool
    why: str = ""
    state: str = "unknown"
    gone: bool = False

    @property
    def holder(self) -> Holder | None:
        return self.answer.holder if self.answer else None


def find(place: Place) -> Found:
    """Ask the process that has it, or had. What is known otherwise is what it has reported, or what somebody has seen."""
    seen, _outage = read_now()
    beat = next((each for each in seen.processes if each.uid == place.uid), None)
    if beat is None:
        why = _("Its process is gone, or has been silent for so long that it counts as gone.")
        if not seen.store:
            why = _("Nothing of the fleet can be read now: %(error)s") % {"error": spoken(seen.store_error)}
        return _last_known(place, None, why, gone=bool(seen.store))
    try:
        answer = ask(beat, What.LOOK, place.target, place.checkout)
    except (StoreDown, ConfigurationError) as error:
        return _last_known(place, beat, _("Its process can't be asked: %(error)s") % {"error": error})
    except Unreadable as error:
        return _last_known(place, beat, _("What its process says can't be read: %(error)s.") % {"error": error})
    if answer is None:
        return _last_known(place, beat, _("Its process has not answered in time: it is frozen, or too busy."))
    if answer.why:
        return _last_known(place, beat, spoken(as_phrase(answer.why)))
    if answer.holder is None:
        over = _("It is over: the connection went back to its pool, or was closed. Nothing of it is left to act on.")
        return _last_known(place, beat, over, "ok")
    return Found(place, beat, answer, live=True)


def _last_known(place: Place, beat: ProcessBeat | None, why: str, state: str = "unknown", gone: bool = False) -> Found:
    known = remembered(place.uid, place.target, place.checkout)
    if beat is not None and (reported := _reported(place, beat)) and (known is None or known.at < reported.at):
        known = replace(reported, stack=known.stack if known else ())
    return Found(place, beat, known, False, why, state, gone)


def _reported(place: Place, beat: ProcessBeat) -> Answer | None:
    holders = (each for pool in beat.pools if pool.target == place.target for each in pool.holders)
    found = next((each for each in holders if each.checkout == place.checkout), None)
    return None if found is None else Answer(beat.at, True, "", (found,))


@apart
@require_safe
@staff_only(VIEW)
def holder(request: HttpRequest, uid: str, target: str, checkout: str) -> HttpResponse:
    found = find(Place(uid, target, checkout))
    context = {
        **frame(request),
        **told(found, may_read_statements(request)),
        "title": _("Who holds this connection"),
        "may_end": may_end_sessions(request),
    }
    return show(request, "poolmgr/holder.html", context, 200 if found.answer else 404)


def told(found: Found, statements: bool) -> dict[str, Any]:
    """What the templates print; without ``statements`` neither those nor the stack."""
    holder, answer, beat = found.holder, found.answer, found.beat
    kind = _kind(found)
    return {
        "place": found.place,
        "found": found,
        "holder": holder,
        "label": _label(holder, beat),
        "since": _since(answer),
        "seen": _seen(answer, found.live),
        "doing": str(HOLDER_STATES.get(holder.state, "")) if holder else "",
        # Where nobody can tell, an order finds out.
        "rests": holder is not None and holder.state not in ("running", ""),
        "loiters": holder is not None and holder.state in ("in transaction", "failed transaction"),
        "end": f"{spoken(kind.end)} {holder.backend_pid}" if holder and holder.backend_pid else "",
        "process": f"{beat.role} {beat.host}:{beat.pid}" if beat else found.place.uid,
        "pinned": reasons_said(holder.pinned) if holder else "",
        "program": beat.name if beat else "",
        "may_read": statements,
        "statement": holder.statement if holder and statements else "",
        "stack": tuple(map(_call, answer.stack)) if answer and statements else (),
        "denied": {what: spoken(kind.denies.get(what, "")) for what in (What.CANCEL.value, What.END.value)},
    }


def _call(text: str) -> Call:
    return Call(text, _LIBRARIES.search(text.partition("\n")[0]) is None)


def _kind(found: Found) -> Any:
    pools = found.beat.pools if found.beat else ()
    named = next((pool.kind for pool in pools if pool.target == found.place.target), "")
    return kind_named(named) if named else likely_kind_of(found.place.target)


def _label(holder: Holder | None, beat: ProcessBeat | None) -> str:
    return "" if holder is None else label_of(holder, beat)


def _since(answer: Answer | None) -> tuple[Figure, datetime] | None:
    """For how long, and from when on."""
    if answer is None or answer.holder is None:
        return None
    seconds = answer.holder.seconds
    return timed(seconds), datetime.fromtimestamp(answer.at - seconds, tz=timezone.get_current_timezone())


def _seen(answer: Answer | None, live: bool) -> str:
    """How old what is told is."""
    if answer is None or live:
        return ""
    return ago(timezone.now().timestamp() - answer.at)
