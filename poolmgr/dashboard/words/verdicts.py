"""What the pages say of a target: the fleet's verdict, as far as its processes still report."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.translation import gettext as _

from poolmgr.control.reporting.advice import ADVICE
from poolmgr.control.reporting.fleet import Fleet
from poolmgr.control.reporting.spoken import spoken
from poolmgr.control.reporting.troubles import silent_after
from poolmgr.control.reporting.views import TargetView
from poolmgr.dashboard.words.present import number
from poolmgr.targets.known import known_targets


@dataclass(frozen=True, slots=True)
class Said:
    """``advice`` names the page that says what to do about it, "" where there is none; ``gone`` is a target that only a
    profile names; ``silent`` processes of it have not reported for too long."""

    state: str
    sentence: str
    advice: str = ""
    gone: bool = False
    silent: int = 0


def said_of(view: TargetView, fleet: Fleet) -> Said:
    """What a silent process reported last may not be so any more, and makes nothing well."""
    if not view.processes and view.target not in known_targets():
        return Said(view.verdict.state, _("The settings of this site name no such target any more."), gone=True)
    latest = silent_after(fleet.store)
    silent = sum(
        fleet.at - beat.at > latest and any(pool.target == view.target for pool in beat.pools)
        for beat in fleet.processes
    )
    if not silent or view.verdict.state != "ok":
        advice = view.verdict.code if view.verdict.code in ADVICE else ""
        return Said(view.verdict.state, spoken(view.verdict.sentence), advice, silent=silent)
    # Which ones, and since when, is told once, above all targets.
    said = _("%(n)s of %(all)s silent. Last known of all: %(said)s")
    told = said % {"n": number(silent), "all": number(view.processes), "said": spoken(view.verdict.sentence)}
    return Said("unknown", told, silent=silent)
