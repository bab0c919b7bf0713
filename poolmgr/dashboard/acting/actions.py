"""Commands from the dashboard: asked on one page, ordered by POST."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.http import require_POST, require_safe

from poolmgr.control.commanding import commands
from poolmgr.control.editing.profiles import known_targets
from poolmgr.control.reporting.fleet import Fleet, read_fleet
from poolmgr.control.reporting.spoken import spoken
from poolmgr.dashboard.entry.access import CHANGE, CUT_OFF, lacking, may_cut_off, may_read, staff_only
from poolmgr.dashboard.entry.frame import frame, refuse, show
from poolmgr.dashboard.words.present import number
from poolmgr.models import Command
from poolmgr.targets.known import databases_of, denied

_DANGEROUS = frozenset({Command.Kind.PAUSE, Command.Kind.KILL, Command.Kind.DISABLE})


class Nonsense(Exception):
    """The order makes no sense; the message is for people."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be done, where; ``place`` is the process as people call it.

    ``databases`` are those of which one may be chosen, ``database`` is the one that was, "" for all.
    """

    kind: str
    target: str
    databases: tuple[str, ...]
    database: str
    process: str
    place: str
    processes: int
    used: int

    @property
    def scope(self) -> str:
        if self.database:
            return _("the database %(database)s") % {"database": self.database}
        if self.process:
            return _("this process: %(place)s") % {"place": self.place}
        return ngettext("all processes: %(n)s now", "all processes: %(n)s now", self.processes) % {
            "n": number(self.processes)
        }


@require_safe
@staff_only(CHANGE)
def confirm(request: HttpRequest) -> HttpResponse:
    try:
        order = understood(request.GET, read_fleet())
    except Nonsense as refusal:
        return _refuse(request, refusal)
    if order.kind in Command.CUTS and not may_cut_off(request):
        return lacking(request, CUT_OFF)
    question, button = _words(order)
    context = {
        **frame(request),
        "title": question,
        "order": order,
        "button": button,
        "danger": order.kind in _DANGEROUS,
        # What can't be undone is chosen, and not left as it stands.
        "chosen": order.database or order.kind not in Command.CUTS,
    }
    return show(request, "poolmgr/confirm.html", context)


@require_POST
@csrf_protect
@staff_only(CHANGE)
def command(request: HttpRequest) -> HttpResponse:
    try:
        order = understood(request.POST, read_fleet())
    except Nonsense as refusal:
        return _refuse(request, refusal)
    if order.kind in Command.CUTS and not may_cut_off(request):
        return lacking(request, CUT_OFF)
    sent = commands.send(order.kind, order.target, request.user.get_username(), order.process, order.database)
    said = _("Sent: %(kind)s “%(target)s” in %(scope)s.")
    if may_read(request, "command"):
        said = _("Sent: %(kind)s “%(target)s” in %(scope)s. Its progress is told below.")
    messages.success(request, said % {"kind": sent.get_kind_display(), "target": order.target, "scope": order.scope})
    return redirect("poolmgr:dashboard")


def _refuse(request: HttpRequest, refusal: Nonsense) -> HttpResponse:
    return refuse(request, _("Nothing was ordered"), str(refusal))


def understood(data: Mapping[str, str], fleet: Fleet) -> Order:
    """What is to be done, by the names of the form's fields. Raises ``Nonsense``."""
    kind, target, process, database = (data.get(name, "") for name in ("kind", "target", "process", "database"))
    if kind not in Command.Kind.values:
        allowed = ", ".join(Command.Kind.values)
        raise Nonsense(_("“%(kind)s” is no command; there are %(allowed)s.") % {"kind": kind, "allowed": allowed})
    pools = [(beat, pool) for beat in fleet.processes for pool in beat.pools if pool.target == target]
    if not pools and target not in known_targets():
        raise Nonsense(_("There is no target “%(target)s”.") % {"target": target})
    if sentence := denied(kind, target, pools[0][1].kind if pools else "", database):
        raise Nonsense(spoken(sentence))
    place = ""
    if process:
        pools = [(beat, pool) for beat, pool in pools if beat.uid == process]
        if not pools:
            raise Nonsense(_("That process is gone, or has no pool to “%(target)s”.") % {"target": target})
        place = f"{pools[0][0].host}:{pools[0][0].pid}"
    used = sum(pool.used for _beat, pool in pools)
    return Order(kind, target, databases_of(target), database, process, place, len(pools), used)


def _words(order: Order) -> tuple[str, str]:
    """The question and the button."""
    question, button = {
        Command.Kind.RECYCLE: (_("Recycle “%(target)s”?"), _("Recycle")),
        Command.Kind.PAUSE: (_("Pause “%(target)s”?"), _("Pause")),
        Command.Kind.RESUME: (_("Resume “%(target)s”?"), _("Resume")),
        Command.Kind.KILL: (_("Kill “%(target)s”?"), _("Kill")),
        Command.Kind.DISABLE: (_("Disable “%(target)s”?"), _("Disable")),
        Command.Kind.ENABLE: (_("Enable “%(target)s”?"), _("Enable")),
    }[Command.Kind(order.kind)]
    return question % {"target": order.target}, button
