"""The verdict that the page opens with, and what else an operator should know first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from poolmgr.conf import conf
from poolmgr.control.reach import Outage
from poolmgr.control.reporting.advice import ADVICE
from poolmgr.control.reporting.fleet import Fleet
from poolmgr.control.reporting.spoken import spoken
from poolmgr.control.reporting.troubles import Trouble
from poolmgr.control.reporting.views import TargetView
from poolmgr.dashboard.lines.notes import Note, unread_note
from poolmgr.dashboard.words.episodes import since_words, standing
from poolmgr.dashboard.words.present import ago, duration, number
from poolmgr.dashboard.words.verdicts import Said
from poolmgr.metrics.health import STATES
from poolmgr.models import Episode

#: Each target's view with what is said of it, the worst first.
Ranked = Sequence[tuple[TargetView, Said]]


@dataclass(frozen=True, slots=True)
class Headline:
    """One sentence for the whole fleet; how many other targets need a look ``others`` says, "" where none does.

    ``advice`` names the page that says what to do, "" where there is none.
    ``target`` is whose it is, "" for the fleet's, of which ``process`` is the first that has it. ``since`` says for how long
    it has been so, ``why`` what was done just before.
    """

    state: str
    sentence: str
    others: str = ""
    advice: str = ""
    target: str = ""
    since: str = ""
    why: str = ""
    process: str = ""


def headline(
    fleet: Fleet, ranked: Ranked, outage: Outage | None = None, going_on: tuple[Episode, ...] = (), unread: str = ""
) -> Headline:
    """The verdict, and since when it holds by the episodes that are ``going_on``.

    ``unread`` says whose report can't be read, or is "".
    """
    found = _headline(fleet, ranked, outage, unread)
    trouble = fleet.troubles[0] if fleet.troubles else None
    if trouble is not None and _comes_first(trouble, found, ranked):
        return _of_processes(trouble, found, ranked)
    if found.state == "ok":
        return found
    stands = standing(going_on, found.target)
    return replace(found, since=stands.since, why=stands.why)


def _headline(fleet: Fleet, ranked: Ranked, outage: Outage | None, unread: str) -> Headline:
    """While the control database is away nothing is well: what the pools report is known, and the rest is not."""
    if not fleet.processes:
        if unread:
            return Headline("unknown", spoken(unread))
        if fleet.store_error:
            return Headline("unknown", _("No process can be seen: %(error)s") % {"error": spoken(fleet.store_error)})
        return Headline("unknown", _("No process has opened a pool yet."))
    # A target that nobody uses yet is no trouble; its row says so.
    in_use = [(view, said) for view, said in ranked if view.processes]
    if not in_use:
        return Headline("unknown", _("Processes are there, but none has a pool open."))
    view, worst = in_use[0]
    if worst.state == "ok" and outage is not None:
        return Headline("unknown", _only_from_reports(len(fleet.processes)))
    if worst.state == "ok" and unread:
        return Headline("warning", spoken(unread))
    if worst.state == "ok":
        return Headline("ok", _all_well(len(fleet.processes), [each.target for each, _said in in_use]))
    sentence = _("%(target)s: %(sentence)s") % {"target": view.target, "sentence": worst.sentence}
    return Headline(worst.state, sentence, _others(in_use[1:]), worst.advice, view.target)


def _comes_first(trouble: Trouble, found: Headline, ranked: Ranked) -> bool:
    """What is wrong with processes is told where no target is worse; one that is unknown since they are silent is not."""
    worse = STATES.index(trouble.state) - STATES.index(found.state)
    silenced = any(view.target == found.target and said.silent for view, said in ranked)
    return worse > 0 or (worse == 0 and trouble.code == "silent" and silenced)


def _of_processes(trouble: Trouble, found: Headline, ranked: Ranked) -> Headline:
    troubled = [(view, said) for view, said in ranked if not said.silent]
    return Headline(
        trouble.state,
        spoken(trouble.said),
        _others(troubled) if found.target else "",
        advice=trouble.code if trouble.code in ADVICE else "",
        since=since_words(datetime.fromtimestamp(trouble.since, timezone.get_current_timezone()))
        if trouble.since
        else "",
        process=trouble.uids[0] if trouble.uids else "",
    )


def _others(rest: Ranked) -> str:
    troubled = sum(said.state != "ok" for _view, said in rest)
    if not troubled:
        return ""
    said = ngettext("%(n)s more target needs a look.", "%(n)s more targets need a look.", troubled)
    return said % {"n": number(troubled)}


def _only_from_reports(processes: int) -> str:
    said = ngettext(
        "Nobody waits in the %(n)s process that reports; whether all is well can't be told without the control database.",
        "Nobody waits in the %(n)s processes that report; whether all is well can't be told without the control database.",
        processes,
    )
    return said % {"n": number(processes)}


def _all_well(processes: int, targets: Sequence[str]) -> str:
    where = ngettext("%(n)s process", "%(n)s processes", processes) % {"n": number(processes)}
    if len(targets) == 1:
        return _("All is well: nobody waits for “%(target)s” in %(where)s.") % {"target": targets[0], "where": where}
    return _("All is well: nobody waits for any of %(n)s targets in %(where)s.") % {
        "n": number(len(targets)),
        "where": where,
    }


def notes(
    fleet: Fleet, ranked: Ranked, outage: Outage | None = None, unread: str = "", checked: bool = True
) -> tuple[Note, ...]:
    """``checked`` is false for a reader whose permission could not be checked."""
    found = []
    poll = duration(conf().POLL_INTERVAL)
    if outage is not None:
        found.append(_away(fleet, outage, checked))
    if fleet.store_error:
        found.append(_incomplete(fleet, poll))
    elif conf().REDIS_URL is None and len(fleet.processes) > 1:
        found.append(
            Note(
                "info",
                _("Redis is not configured"),
                _(
                    "Heartbeats and changes go through the database, and a saved profile takes up to %(poll)s to reach "
                    'every process. Set POOLMGR["REDIS_URL"] to make that less than a second.'
                )
                % {"poll": poll},
            )
        )
    found += unread_note(unread)
    for trouble in fleet.troubles:
        title = ngettext("A process has trouble", "%(n)s processes have trouble", len(trouble.processes))
        found.append(Note(trouble.state, title % {"n": number(len(trouble.processes))}, spoken(trouble.said)))
    stale = [view.target for view, _said in ranked if view.processes and not view.health_fresh]
    if stale and outage is None:
        found.append(
            Note(
                "info",
                _("No recent health check"),
                _(
                    "Nobody checks %(targets)s on schedule, or recycles in turn: start a Celery worker "
                    "and beat with the tasks of poolmgr. The pools work without."
                )
                % {"targets": ", ".join(f"“{target}”" for target in stale)},
            )
        )
    return tuple(found)


def _away(fleet: Fleet, outage: Outage, checked: bool) -> Note:
    since = datetime.fromtimestamp(outage.since, tz=timezone.get_current_timezone())
    words = [
        spoken(outage.sentence),
        _("It has been so since %(time)s (%(ago)s).")
        % {"time": f"{since:%H:%M:%S}", "ago": ago(fleet.at - outage.since)},
        _("Unknown until it is back: the settings that should be in force, server checks, commands and events."),
    ]
    if fleet.processes:
        words.append(_("What the processes report is as fresh as ever."))
    words.append(
        _("Edits, recycle, pause and resume wait for it.")
        if checked
        else _("You look on because you were let in before; edits, recycle, pause and resume wait for it.")
    )
    return Note("critical", _("The control database is away"), " ".join(words))


def _incomplete(fleet: Fleet, poll: str) -> Note:
    if conf().REDIS_URL is not None and fleet.store == "database":
        return Note(
            "warning",
            _("Redis is down, the site serves on"),
            _("%(error)s Until it is back, saved profiles and commands take up to %(poll)s to reach every process.")
            % {"error": spoken(fleet.store_error), "poll": poll},
        )
    return Note("warning", _("Part of the picture is missing"), spoken(fleet.store_error))
