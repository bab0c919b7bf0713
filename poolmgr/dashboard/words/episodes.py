"""Episodes in words: what was so, for how long, how bad, and until when."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from poolmgr.control.reporting.documents.why import of_target
from poolmgr.control.reporting.spoken import spoken
from poolmgr.dashboard.words.present import duration, number
from poolmgr.metrics.phrases import bare
from poolmgr.models import Episode

#: What was so, by family; of others the sentence says it.
_HEADS = {
    "exhausted": gettext_lazy("requests waited for a connection"),
    "unreachable": gettext_lazy("no connection could be opened"),
    "paused": gettext_lazy("was paused"),
    "closed": gettext_lazy("the pool was closed"),
    "over_budget": gettext_lazy("more connections were held than the budget allows"),
    "refused": gettext_lazy("transactions were refused, by statement mode"),
    "not_following": gettext_lazy("processes did not follow the newest settings"),
    "control_lost": gettext_lazy("the control database was away"),
    "store_lost": gettext_lazy("Redis was away"),
    "server_full": gettext_lazy("the server had no connection slot left"),
    "threads": gettext_lazy("all request threads were busy"),
}


@dataclass(frozen=True, slots=True)
class Standing:
    """Since when a verdict holds, and what somebody did just before; both are sentences, or ""."""

    since: str = ""
    why: str = ""


def standing(going: Iterable[Episode], target: str) -> Standing:
    """Of the worst trouble that a target, or with "" the fleet, has now; of equals the one that began first."""
    worst = of_target(going, target)
    if worst is None:
        return Standing()
    why = _("Just before: %(what)s.") % {"what": bare(spoken(worst.said("why")))} if worst.why else ""
    return Standing(since_words(worst.began_at), why)


def since_words(began: datetime) -> str:
    now = timezone.now()
    return _("For %(time)s, since %(clock)s.") % {
        "time": duration((now - began).total_seconds()),
        "clock": clock(began, now),
    }


def sentence(episode: Episode, now: datetime) -> str:
    """Such as “2 of 3 web processes were full for 41 s, 12 requests failed, until 12:04:31”."""
    ended = episode.ended_at
    seconds = ((ended or now) - episode.began_at).total_seconds()
    head = heading(episode)
    if episode.code == "gone":
        return _("%(what)s, last heard of at %(clock)s") % {"what": head, "clock": clock(episode.began_at, now)}
    if ended is None or seconds >= 1:
        head = _("%(what)s for %(time)s") % {"what": head, "time": duration(seconds)}
    return ", ".join([head, *figures(episode), _when(episode, seconds, now)])


def heading(episode: Episode) -> str:
    """What was so, without for how long."""
    full = _figure(episode, "full")
    if episode.family == "exhausted" and episode.place:
        return ngettext("%(who)s was full", "%(who)s were full", int(full)) % {"who": spoken(episode.said("place"))}
    if episode.family == "gone" and episode.place:
        said = _("%(who)s ended without a word") if episode.code == "gone" else _("no heartbeat of %(who)s")
        return said % {"who": spoken(episode.said("place"))}
    if episode.family not in _HEADS:
        return bare(spoken(episode.said("sentence")))
    head = str(_HEADS[episode.family])
    return (
        _("%(what)s for %(who)s") % {"what": head, "who": spoken(episode.said("place"))}
        if not episode.target and episode.place
        else head
    )


def figures(episode: Episode) -> Iterator[str]:
    """Its worst figures, each in words."""
    if failed := int(_figure(episode, "failed")):
        yield ngettext("%(n)s request failed", "%(n)s requests failed", failed) % {"n": number(failed)}
    if waiting := int(_figure(episode, "waiting")):
        yield ngettext("%(n)s waited", "up to %(n)s waited at once", waiting) % {"n": number(waiting)}
    if longest := _figure(episode, "longest_wait"):
        yield _("the longest for %(time)s") % {"time": duration(longest)}


def _figure(episode: Episode, name: str) -> float:
    # A row can be made in SQL too.
    value = episode.figures.get(name, 0) if isinstance(episode.figures, dict) else 0
    return value if isinstance(value, int | float) and 0 <= value < 2**48 else 0


def _when(episode: Episode, seconds: float, now: datetime) -> str:
    if episode.ended_at is None:
        return _("since %(clock)s, goes on") % {"clock": clock(episode.began_at, now)}
    words = _("until %(clock)s") if seconds >= 1 else _("at %(clock)s")
    return words % {"clock": clock(episode.ended_at, now)}


def clock(moment: datetime, now: datetime) -> str:
    """The time of day, with the date of another day than that of ``now``."""
    if timezone.is_aware(moment):
        moment, now = timezone.localtime(moment), timezone.localtime(now)
    return f"{moment:%H:%M:%S}" if moment.date() == now.date() else f"{moment:%Y-%m-%d %H:%M:%S}"
