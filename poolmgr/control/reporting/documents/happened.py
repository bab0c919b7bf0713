"""What happened: episodes and events in one list, and episodes with all that is kept of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from poolmgr.control.reporting.documents.values import moment, text
from poolmgr.models import Episode, Event

EPISODE = "episode"
#: The worst figures of an episode that every line has.
FIGURES = ("failed", "waiting", "longest_wait")


def page(number: int, more: bool, rows: Iterable[Episode | Event]) -> dict[str, Any]:
    """One page of the log; ``more`` says whether there is a next one."""
    return {"page": number, "more": more, "events": [line(row) for row in rows]}


def line(row: Episode | Event) -> dict[str, Any]:
    """An event, or an episode as one: ``until`` is None while it goes on, and for what has no length."""
    return _of_episode(row) if isinstance(row, Episode) else _of_event(row)


def _of_episode(row: Episode) -> dict[str, Any]:
    return {
        "at": moment(row.began_at),
        "until": moment(row.ended_at),
        "goes_on": row.ended_at is None,
        "kind": EPISODE,
        "target": text(row.target),
        "state": row.state,
        "author": None,
        "message": row.sentence,
        "place": text(row.place),
        "just_before": text(row.why),
        **{name: figure(row, name) for name in FIGURES},
    }


def _of_event(row: Event) -> dict[str, Any]:
    return {
        "at": moment(row.at),
        "until": None,
        "goes_on": False,
        "kind": row.kind,
        "target": text(row.target),
        "state": None,
        "author": text(row.author),
        "message": row.message,
        "place": None,
        "just_before": None,
        **dict.fromkeys(FIGURES),
    }


def episode(row: Episode) -> dict[str, Any]:
    """Everything of one; ``family`` names the trouble, ``code`` the verdict of its worst moment, which the message tells."""
    return {
        "began_at": moment(row.began_at),
        "seen_at": moment(row.seen_at),
        "ended_at": moment(row.ended_at),
        "target": text(row.target),
        "family": row.family,
        "code": text(row.code),
        "state": row.state,
        "message": row.sentence,
        "place": text(row.place),
        "just_before": text(row.why),
        "figures": _figures(row),
    }


def figure(row: Episode, name: str) -> float | None:
    """None where there is none: a row can be made in SQL too."""
    value = _figures(row).get(name)
    return value if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 2**48 else None


def _figures(row: Episode) -> dict[str, Any]:
    return row.figures if isinstance(row.figures, dict) else {}
