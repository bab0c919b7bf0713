"""Episodes: what was wrong, from when until when, and how bad it was. Pure: from what is seen to what is to be recorded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from msgspec import Struct
from msgspec.structs import replace

from poolmgr.metrics.decoding import Real, Text
from poolmgr.metrics.health import STATES
from poolmgr.metrics.phrases import cut

#: What comes back within so many seconds of its end goes on.
QUIET = 15.0
#: Where nobody has looked for so many seconds, nobody knows that what is seen now is the same still.
BLIND = 60.0
#: The most episodes that are known at once: of more the newest are passed over, until others end.
MOST = 500

#: Characters of a sentence that are kept.
LONGEST = 500

#: Verdicts of one and the same trouble, by the name of it.
_FAMILIES = {"waiting": "exhausted", "connects_fail": "unreachable", "silent": "gone"}
#: Verdicts on the minute that is over: they tell of an episode, and are none.
ECHOES = frozenset({"ok", "failed_lately", "slow"})
#: Seconds that a warning lasts before it is worth a line. What comes to nothing in less is how a busy pool looks, and how an
#: edit spreads.
_PATIENCE = {"exhausted": 1.0, "not_following": 10.0}


@dataclass(frozen=True, slots=True)
class Sighting:
    """Something that is wrong now at a target or, where that is "", with the fleet. Times in seconds since the epoch.

    ``since`` is when it began, where that is known; ``until`` when it was so last, where that is not now. ``worst`` are
    figures of which the largest is kept, ``counts`` those that add up from look to look. ``where`` says which processes.
    What is ``over`` has happened, and does not last.
    """

    target: str
    code: str
    state: str
    sentence: str
    since: float = 0.0
    until: float = 0.0
    worst: Mapping[str, float] = field(default_factory=dict)
    counts: Mapping[str, float] = field(default_factory=dict)
    where: str = ""
    over: bool = False


class Episode(Struct, frozen=True, omit_defaults=True, gc=False):
    """One trouble. ``code``, ``state``, ``sentence`` and ``where`` are of its worst moment; ``ended`` is 0 while it goes on,
    and ``seen`` when it was seen last."""

    target: Text
    family: Text
    code: Text
    state: Text
    sentence: Text
    began: Real
    seen: Real
    ended: Real = 0.0
    where: Text = ""
    figures: dict[Text, Real] = {}

    @property
    def key(self) -> tuple[str, str, float]:
        return self.target, self.family, self.began

    @property
    def is_told(self) -> bool:
        """Whether it is worth a line."""
        return self.state == "critical" or self.seen - self.began >= _PATIENCE.get(self.family, 0.0)


class Watched(Struct, frozen=True, omit_defaults=True):
    """What is known when somebody looks again: episodes that go on or have just ended, and when the last look was."""

    at: Real = 0.0
    episodes: tuple[Episode, ...] = ()


def step(before: Watched, seen: Iterable[Sighting], now: float) -> tuple[Watched, tuple[Episode, ...]]:
    """One look: what is known now, and the episodes to record, as they are now."""
    is_blind = now - before.at > BLIND
    known = {} if is_blind else {(each.target, each.family): each for each in before.episodes}
    changed = {each.key: _ended(each) for each in before.episodes if is_blind}
    found = set()
    for each in seen:
        if _is_old(each, before.at):
            continue
        place = each.target, _FAMILIES.get(each.code, each.code)
        had = known.get(place)
        if had is None and len(known) >= MOST:
            continue
        found.add(place)
        is_other = had is None or (had.ended and _is_another(had, each, now))
        known[place] = _begun(each, place[1], now) if had is None or is_other else _worse(had, each, now)
        changed[known[place].key] = known[place]
    for place in known.keys() - found:
        if not known[place].ended:
            known[place] = _ended(known[place])
            changed[known[place].key] = known[place]
    kept = tuple(each for each in known.values() if not each.ended or now - each.ended <= QUIET)
    return Watched(now, kept), _news(before, changed.values())


def _news(before: Watched, changed: Iterable[Episode]) -> tuple[Episode, ...]:
    """What is worth a line, and is not as it was."""
    old = set(map(id, before.episodes))
    return tuple(each for each in changed if each.is_told and id(each) not in old)


def _is_another(had: Episode, each: Sighting, now: float) -> bool:
    """Whether it is no longer the one that has ended; what was not worth a line is none that could go on."""
    pause = _since(each, now) - had.ended
    return pause > (QUIET if had.is_told else 0.0)


def _is_old(each: Sighting, looked: float) -> bool:
    """Whether it was over before the last look, which has seen it."""
    return bool(each.until) and each.until < looked


def _since(each: Sighting, now: float) -> float:
    # Clocks of two hosts may disagree: nothing begins in the future.
    return min(each.since or each.until or now, now)


def _until(each: Sighting, now: float) -> float:
    return min(each.until or now, now)


def _begun(each: Sighting, family: str, now: float) -> Episode:
    began, until = round(_since(each, now), 3), _until(each, now)
    return Episode(
        each.target,
        family,
        each.code,
        each.state,
        cut(each.sentence, LONGEST),
        began=began,
        seen=max(began, until),
        ended=max(began, until) if each.over else 0.0,
        where=each.where,
        figures={**each.worst, **each.counts},
    )


def _worse(had: Episode, each: Sighting, now: float) -> Episode:
    """The same episode, a look later."""
    figures = dict(had.figures)
    grew = False
    for name, value in each.worst.items():
        grew |= value > figures.get(name, 0.0)
        figures[name] = max(value, figures.get(name, 0.0))
    for name, value in each.counts.items():
        figures[name] = figures.get(name, 0.0) + value
    seen = max(had.seen, _until(each, now))
    had = replace(had, seen=seen, ended=seen if each.over else 0.0, figures=figures)
    rank = STATES.index(each.state) - STATES.index(had.state)
    if rank > 0 or (rank == 0 and grew):
        return replace(
            had, code=each.code, state=each.state, sentence=cut(each.sentence, LONGEST), where=each.where or had.where
        )
    return had


def _ended(each: Episode) -> Episode:
    return each if each.ended else replace(each, ended=max(each.began, each.seen))
