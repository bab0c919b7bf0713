"""Episodes in rows of the control database. All of it raises ``django.db.Error``."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime, timedelta
from time import time

from django.db.models import F, Q, QuerySet
from django.db.utils import DataError
from django.utils import timezone
from msgspec import ValidationError, convert

from poolmgr.control.access import control_alias, sentence_of
from poolmgr.metrics import episodes
from poolmgr.metrics.health import STATES
from poolmgr.metrics.phrases import cut, phrase, unpacked
from poolmgr.metrics.words import span
from poolmgr.models import Episode, Event
from poolmgr.models.sentences import kept

log = logging.getLogger("poolmgr.agent")

#: For so long an edit or an order may be why something begins; the control database's clock may be a little ahead.
_BEFORE, _SKEW = timedelta(minutes=1), timedelta(seconds=1)


def save(found: Iterable[episodes.Episode]) -> None:
    """Write each as it is now; to do so twice is to do so once. What fits into no row costs itself."""
    for each in found:
        try:
            _save(each)
        except DataError as error:
            log.warning("An episode of %r can't be kept: %s", each.target, sentence_of(error))


def _save(each: episodes.Episode) -> None:
    sentence, sentence_told = kept(unpacked(each.sentence), episodes.LONGEST)
    place, place_told = kept(unpacked(each.where), 200)
    values = {
        "code": each.code,
        "state": each.state,
        "sentence": sentence,
        "sentence_told": sentence_told,
        "place": place,
        "place_told": place_told,
        "seen_at": _moment(each.seen),
        "ended_at": _moment(each.ended) if each.ended else None,
        "figures": each.figures,
    }
    key = {"target": each.target, "family": each.family, "began_at": _moment(each.began)}
    if not _rows().filter(**key).update(**values):
        why, why_told = kept(_just_before(each), 500)
        row = Episode(**key, **values, why=why, why_told=why_told)
        _rows().bulk_create([row], ignore_conflicts=True)


def _just_before(each: episodes.Episode) -> str:
    """The last edit or order of its target, if that was just before it began, with by whom and how long before."""
    began = _moment(each.began)
    done = Event.objects.using(control_alias()).filter(
        kind__in=(Event.Kind.PROFILE, Event.Kind.COMMAND),
        target=each.target,
        at__gt=began - _BEFORE,
        at__lte=began + _SKEW,
    )
    if not each.target or (last := done.order_by("-at", "-id").first()) is None:
        return ""
    what, time = cut(last.sentence, 400), span((began - last.at).total_seconds())
    if last.author:
        return phrase("%(what)s, by %(author)s, %(time)s before", what=what, author=last.author, time=time)
    return phrase("%(what)s, %(time)s before", what=what, time=time)


def unfinished(limit: int = episodes.MOST) -> tuple[episodes.Episode, ...]:
    """Those that go on, or that ended a moment ago and may come back."""
    just = timezone.now() - timedelta(seconds=episodes.QUIET)
    rows = _rows().filter(Q(ended_at=None) | Q(ended_at__gte=just))[:limit]
    return tuple(found for row in rows if (found := _value(row)))


def recent(limit: int) -> tuple[Episode, ...]:
    """Those that go on, and then the last that ended."""
    return tuple(_rows().order_by(F("ended_at").desc(nulls_first=True), "-began_at", "-id")[:limit])


def going_on(limit: int = 100) -> tuple[Episode, ...]:
    return tuple(_rows().filter(ended_at=None)[:limit])


def _rows() -> QuerySet[Episode]:
    return Episode.objects.using(control_alias()).order_by("-began_at", "-id")


def _value(row: Episode) -> episodes.Episode | None:
    """As far as it can be: a row can be made in SQL too. None for one of a time that nobody can have seen it begin at."""
    if not 0 <= row.began_at.timestamp() <= time() + _SKEW.total_seconds():
        return None
    try:
        figures = convert(row.figures, dict[str, float])
    except ValidationError:
        figures = {}
    return episodes.Episode(
        row.target,
        row.family,
        row.code,
        row.state if row.state in STATES else "unknown",
        row.said("sentence"),
        began=round(row.began_at.timestamp(), 3),
        seen=row.seen_at.timestamp(),
        ended=row.ended_at.timestamp() if row.ended_at else 0.0,
        where=row.said("place"),
        figures=figures,
    )


def _moment(seconds: float) -> datetime:
    # As aware as the site's own times are.
    return datetime.fromtimestamp(round(seconds, 3), timezone.now().tzinfo)
