"""The one thing to press: what helps most by the verdict, as far as the reader may do it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlencode

from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from poolmgr.control.access import control_alias
from poolmgr.control.reporting.fleet import Fleet
from poolmgr.control.reporting.ours import holders
from poolmgr.control.reporting.views import TargetView
from poolmgr.dashboard.addresses import holder_address, process_address, target_address
from poolmgr.dashboard.entry.access import may_act
from poolmgr.metrics.blocking import tree
from poolmgr.models import Command, ProfileRevision

#: Settings that, lowered, leave requests without connections.
_LOWERED = ("max_size", "budget")
#: For so long an edit is what a full pool is put down to.
_LATELY = timedelta(hours=1)
#: Verdicts on a pool that has too little to lend.
_SHORT = frozenset({"exhausted", "waiting", "failed_lately", "slow"})
_LOCKED = frozenset({"blocked", "blocked_and_waiting"})


@dataclass(frozen=True, slots=True)
class Remedy:
    """A link: what it says, where it leads."""

    label: str
    address: str


def remedies(request: HttpRequest, view: TargetView, fleet: Fleet, known: bool) -> tuple[Remedy, ...]:
    """The first is the one to press; none where nothing is known to help. ``known`` is false while the control database
    can't be asked."""
    code = view.verdict.code
    page = target_address(view.target)
    found: list[Remedy] = []
    if code == "paused" and known and may_act(request):
        query = urlencode({"kind": Command.Kind.RESUME.value, "target": view.target})
        found.append(Remedy(_("Resume"), f"{reverse('poolmgr:confirm')}?{query}"))
    if code in _SHORT and known and may_act(request):
        found += _restore(view.target)
    if code == "server_full":
        found.append(Remedy(_("Who has the slots"), f"{page}#server"))
    if code in _LOCKED:
        found += _root(view, fleet, page)
    if code in _SHORT | _LOCKED | {"paused"}:
        found.append(Remedy(_("Who holds"), f"{page}#holders"))
    return tuple(found)


def closer(target: str) -> tuple[Remedy, ...]:
    """Where no remedy is known, and the reader is not there yet."""
    return (Remedy(_("Look closer"), target_address(target)),)


def of_process(uid: str, code: str) -> tuple[Remedy, ...]:
    """What is wrong with a process is looked at on its page."""
    address = process_address(uid)
    label = _("What keeps them") if code == "threads" else _("Look at the process")
    return (Remedy(label, address),) if address else ()


def _restore(target: str) -> list[Remedy]:
    """Back to the settings before the last edit, where that took connections away lately."""
    rows = ProfileRevision.objects.using(control_alias()).filter(target=target)
    last = rows.filter(created_at__gte=timezone.now() - _LATELY).order_by("-created_at", "-id").first()
    lowered = (pair for name, pair in last.differences.items() if name in _LOWERED) if last else ()
    if last is None or not any(_is_less(*pair) for pair in lowered):
        return []
    before = rows.filter(role=last.role, number__lt=last.number).order_by("-number").first()
    if before is None:
        return []
    try:
        address = reverse("admin:poolmgr_profilerevision_restore", args=[before.pk])
    except NoReverseMatch:  # a site without the admin
        return []
    return [Remedy(_("Restore revision %(n)s") % {"n": before.number}, address)]


def _is_less(before: object, after: object) -> bool:
    # A budget of 0 is none.
    return isinstance(before, int) and isinstance(after, int) and after > 0 and (after < before or before == 0)


def _root(view: TargetView, fleet: Fleet, page: str) -> list[Remedy]:
    """Whoever is in the way of most."""
    roots = [branch for branch in tree(view.seen.sessions) if not branch.depth] if view.seen else []
    if not roots:
        return []
    worst = max(roots, key=lambda branch: len(branch.blocks))
    whose = holders(view.target, fleet.processes).get(worst.session.pid)
    if whose is not None and whose.holder is not None:
        address = holder_address(whose.beat.uid, whose.target, whose.holder.checkout)
        if address:
            return [Remedy(_("Who is in the way"), address)]
    return [Remedy(_("Who is in the way"), f"{page}#blocking")]
