"""Why a target is as it is: its verdict, since when, what was done just before, what to look at and do, and who holds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from poolmgr.control.reach import Outage
from poolmgr.control.reporting.advice import ADVICE, Advice
from poolmgr.control.reporting.documents.holders import held, holder
from poolmgr.control.reporting.documents.targets import head, views
from poolmgr.control.reporting.documents.values import moment, text, verdict
from poolmgr.control.reporting.fleet import Fleet
from poolmgr.metrics.health import STATES
from poolmgr.models import Episode

#: The oldest holders, of whom more is read nowhere else.
HOLDERS = 10


def why(
    fleet: Fleet, target: str, going_on: Iterable[Episode] | None, statements: bool, outage: Outage | None = None
) -> dict[str, Any]:
    """``going_on`` are episodes, None where they are unknown or not for the reader. Raises ``LookupError``."""
    [view] = views(fleet, target)
    episode = of_target(going_on or (), target)
    blocked = view.blocked
    return {
        **head(fleet, outage),
        "target": target,
        "verdict": verdict(view.verdict),
        "since": moment(episode.began_at) if episode else None,
        "just_before": text(episode.why) if episode else None,
        "advice": _advice(ADVICE.get(view.verdict.code)),
        "root": blocked.root if blocked else None,
        "holders": [holder(target, each.holder, each.beat, statements) for each in held(fleet, target)[:HOLDERS]],
    }


def of_target(going_on: Iterable[Episode], target: str) -> Episode | None:
    """The worst of its episodes; of equals the one that began first."""
    found = (each for each in going_on if each.target == target)
    return min(found, key=lambda each: (-_rank(each), each.began_at), default=None)


def _rank(episode: Episode) -> int:
    return STATES.index(episode.state) if episode.state in STATES else 0


def _advice(entry: Advice | None) -> dict[str, Any] | None:
    if entry is None:
        return None
    lists = {"look": [str(each) for each in entry.look], "do": [str(each) for each in entry.do]}
    return {"title": str(entry.title), "means": str(entry.means), **lists}
