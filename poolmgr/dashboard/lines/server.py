"""What the last health check of a target, or a newer look while somebody looks on, says of its server."""

from __future__ import annotations

from dataclasses import dataclass, replace
from time import time

from django.utils import timezone
from django.utils.translation import gettext as _

from poolmgr.control.reporting.spoken import spoken
from poolmgr.control.reporting.views import TargetView
from poolmgr.dashboard.words.present import DASH, Figure, ago, number, share, timed
from poolmgr.metrics.health import Checked
from poolmgr.metrics.phrases import as_phrase
from poolmgr.metrics.seen import Seen, Stranger

_NONE = Figure(DASH)


@dataclass(frozen=True, slots=True)
class There:
    """Who has the server's slots: ours by target, others by name, how many are free and reserved; as it was ``seen``.

    ``error`` says why nobody knows how it is now.
    """

    seen: str
    old: bool
    error: str
    ours: tuple[tuple[str, str], ...]
    others: tuple[tuple[str, str], ...]
    rest: str
    free: str
    reserved: str
    hidden: str


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
    there: There | None = None


def server_line(view: TargetView, known: bool = True) -> ServerLine:
    """``known`` is false while the checks that were made can't be read."""
    check = view.last_health
    if not known:
        return _seen(ServerLine("unknown", _("Unknown: the checks are in the control database."), "", old=False), view)
    if check is None:
        return _seen(ServerLine("unknown", _("Nobody has checked this server yet."), "", old=True), view)
    age = (timezone.now() - check.at).total_seconds()
    room = (check.server_max or 0) - (check.server_reserved or 0)
    used, ours = check.server_used or 0, check.ours or 0
    known = check.server_used is not None and room > 0
    line = ServerLine(
        state=check.state,
        message=_message(check, known, spoken(view.verdict.sentence)),
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
    return _seen(line, view)


def _seen(line: ServerLine, view: TargetView) -> ServerLine:
    """With the figures of the newest look, if there was one, and who is there."""
    seen, check = view.seen, view.last_health
    if seen is None or not (seen.at or seen.error):
        return line
    line = replace(line, there=_there(view, seen))
    room, ours = seen.most - seen.reserved, sum(seen.ours.values())
    if room <= 0 or (check is not None and check.at.timestamp() > seen.at):
        return line
    whole = max(room, seen.used)
    return replace(
        line,
        used=number(seen.used),
        most=number(room),
        ours=number(ours),
        width_ours=share(ours, whole),
        x_others=share(ours, whole),
        width_others=share(max(0, seen.used - ours), whole),
        known=True,
        counted=not seen.behind_pooler,
    )


def _there(view: TargetView, seen: Seen) -> There:
    named = sum(each.number for each in seen.strangers)
    hidden = _("Our role may not see what %(n)s of the server's sessions do.") % {"n": number(seen.hidden)}
    return There(
        seen=ago(time() - seen.at) if seen.at else "",
        old=not view.seen_now,
        error=spoken(as_phrase(seen.error)),
        ours=tuple((target, number(count)) for target, count in sorted(seen.ours.items(), key=lambda each: -each[1])),
        others=tuple((called(each), number(each.number)) for each in seen.strangers),
        rest=number(seen.others - named) if seen.others > named else "",
        free=number(seen.free),
        reserved=number(seen.reserved),
        hidden=hidden if seen.hidden else "",
    )


def called(stranger: Stranger) -> str:
    user = _("user %(user)s") % {"user": stranger.user} if stranger.user else ""
    where = _("from %(address)s") % {"address": stranger.address} if stranger.address else ""
    return ", ".join(filter(None, (stranger.name or _("a nameless session"), " ".join(filter(None, (user, where))))))


def told_version(version: str, behind_pooler: bool) -> str:
    return _("%(version)s behind a pooler") % {"version": version} if behind_pooler else version


def _message(check: Checked, known: bool, said: str) -> str:
    message = spoken(check.sentence)
    if known and (check.state == "ok" or message == said):
        return ""
    return _("The last check failed.") if message == said else message
