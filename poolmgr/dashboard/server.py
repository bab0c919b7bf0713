"""What the last health check of a target says of its server."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils import timezone
from django.utils.translation import gettext as _

from poolmgr.control.reporting.views import TargetView
from poolmgr.dashboard.present import DASH, Figure, ago, number, share, timed
from poolmgr.metrics.health import Checked

_NONE = Figure(DASH)


@dataclass(frozen=True, slots=True)
class ServerLine:
    """The state of the server, as far as anybody looked. ``old`` means that no recent check says so.

    ``message`` is empty where the figures, or the verdict above them, say it already. The figures are ``known`` of a server
    that counts its connections, and those of the fleet where they are ``counted``; one that ``let_in`` the check took so
    long, and one that was ``asked`` so long to answer.
    """

    state: str
    message: str
    checked: str
    old: bool
    used: str = DASH
    most: str = DASH
    ours: str = DASH
    width_ours: str = "0%"
    width_others: str = "0%"
    x_others: str = "0%"
    known: bool = False
    counted: bool = False
    let_in: bool = False
    asked: bool = False
    connect: Figure = _NONE
    query: Figure = _NONE
    version: str = ""


def server_line(view: TargetView, known: bool = True) -> ServerLine:
    """``known`` is false while the checks that were made can't be read."""
    check = view.last_health
    if not known:
        return ServerLine("unknown", _("Unknown: the checks are in the control database."), "", old=False)
    if check is None:
        return ServerLine("unknown", _("Nobody has checked this server yet."), "", old=True)
    age = (timezone.now() - check.at).total_seconds()
    room = (check.server_max or 0) - (check.server_reserved or 0)
    used, ours = check.server_used or 0, check.ours or 0
    known = check.server_used is not None and room > 0
    return ServerLine(
        state=check.state,
        message=_message(check, known, view.verdict.sentence),
        checked=ago(age),
        old=not view.health_fresh,
        used=number(check.server_used),
        most=number(room or None),
        ours=number(check.ours),
        width_ours=share(ours, max(room, used)),
        x_others=share(ours, max(room, used)),
        width_others=share(max(0, used - ours), max(room, used)),
        known=known,
        counted=check.ours is not None,
        let_in=check.connect_time is not None,
        asked=check.query_time is not None,
        connect=timed(check.connect_time),
        query=timed(check.query_time),
        version=told_version(check.server_version, check.behind_pooler),
    )


def told_version(version: str, behind_pooler: bool) -> str:
    return _("%(version)s behind a pooler") % {"version": version} if behind_pooler else version


def _message(check: Checked, known: bool, said: str) -> str:
    if known and (check.state == "ok" or check.message == said):
        return ""
    return _("The last check failed.") if check.message == said else check.message
