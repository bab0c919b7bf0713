"""What was ordered and what happened: commands with their progress, and events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db.models import prefetch_related_objects
from django.utils import timezone
from django.utils.translation import gettext as _

from poolmgr.control.access import control_alias
from poolmgr.control.commanding import commands
from poolmgr.control.reporting.fleet import Fleet
from poolmgr.control.reporting.spoken import spoken
from poolmgr.control.watching import records
from poolmgr.dashboard.words import episodes
from poolmgr.dashboard.words.present import ago, number
from poolmgr.models import Acknowledgement, Command, Event


@dataclass(frozen=True, slots=True)
class CommandLine:
    """One command. ``state`` is running, done, failed, overruled or expired."""

    pk: int
    kind: str
    target: str
    scope: str
    author: str
    age: str
    at: datetime
    state: str
    progress: str
    done: int
    total: int
    failures: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EventLine:
    """One line of the audit log, or an episode: that has a ``state``, and in ``detail`` its worst moment."""

    kind: str
    target: str
    author: str
    message: str
    age: str
    at: datetime
    state: str = ""
    detail: str = ""
    why: str = ""
    goes_on: bool = False
    of: str = ""  # its target, which the sentence may name already


def command_lines(fleet: Fleet, limit: int = 8) -> tuple[CommandLine, ...]:
    places = {beat.uid: f"{beat.host}:{beat.pid}" for beat in fleet.processes}
    found = commands.recent(limit=limit)
    prefetch_related_objects(found, "acknowledgements")
    return tuple(_command(each, fleet, places, _overruled(each, found[:index])) for index, each in enumerate(found))


def _overruled(command: Command, newer: tuple[Command, ...]) -> bool:
    """A pause or a resume counts only until the next one: a process that had not seen it yet never will."""
    if command.kind not in Command.HOLDS:
        return False
    return any(
        each.kind in Command.HOLDS
        and each.target == command.target
        and each.database in ("", command.database)
        and each.process in ("", command.process)
        for each in newer
    )


def _command(command: Command, fleet: Fleet, places: Mapping[str, str], overruled: bool) -> CommandLine:
    progress = _progress(command, fleet)
    now = timezone.now()
    if progress.done >= progress.total > 0:
        state = "done"
    elif progress.failed and not progress.running and progress.done + progress.failed >= progress.total:
        state = "failed"
    elif overruled:
        state = "overruled"
    elif command.expires_at < now:
        state = "expired"
    else:
        state = "running"
    said = _("%(done)s of %(total)s done") % {"done": number(progress.done), "total": number(progress.total)}
    if not progress.total:
        said = _("no process has answered")
    if progress.failed:
        said = _("%(said)s, %(failed)s failed") % {"said": said, "failed": number(progress.failed)}
    failures: tuple[str, ...] = ()
    if progress.failed:
        failed = [each for each in command.acknowledgements.all() if each.state == Acknowledgement.State.FAILED]
        failures = tuple(f"{places.get(each.process, each.process)}: {spoken(each.sentence)}" for each in failed[:5])
    return CommandLine(
        pk=command.pk,
        kind=command.get_kind_display(),
        target=command.target,
        scope=scope_label(command.process, command.database, places),
        author=command.author,
        age=ago((now - command.created_at).total_seconds()),
        at=command.created_at,
        state=state,
        progress=said,
        done=progress.done,
        total=max(1, progress.total),
        failures=failures,
    )


def _progress(command: Command, fleet: Fleet) -> commands.Progress:
    """As ``commands.progress``, but from the beats that the page has read: a Redis that hangs must cost it only once."""
    answers = {each.process: each.state for each in command.acknowledgements.all() if each.process}
    late = command.expires_at.timestamp()
    concerned = {
        beat.uid
        for beat in fleet.processes
        if command.process in ("", beat.uid)
        and beat.started < late
        and any(pool.target == command.target for pool in beat.pools)
    }
    states = list(answers.values())
    return commands.Progress(
        done=states.count(Acknowledgement.State.DONE),
        failed=states.count(Acknowledgement.State.FAILED),
        running=states.count(Acknowledgement.State.RUNNING),
        total=len(answers.keys() | concerned),
    )


def scope_label(process: str, database: str, places: Mapping[str, str]) -> str:
    if database:
        return _("database %(database)s") % {"database": database}
    if not process:
        return _("all processes")
    if process == Command.ROLLING:
        return _("one process after another")
    return _("process %(place)s") % {"place": places.get(process, process)}


def event_lines(limit: int = 8) -> tuple[EventLine, ...]:
    """What goes on first, then the newest."""
    now = timezone.now()
    lines = [*_episode_lines(now, limit), *_event_lines(now, limit)]
    return tuple(sorted(lines, key=lambda line: (line.goes_on, line.at), reverse=True)[:limit])


def _episode_lines(now: datetime, limit: int) -> Iterator[EventLine]:
    for each in records.recent(limit):
        at = each.ended_at or each.began_at
        yield EventLine(
            kind=_("episode"),
            target=each.target,
            author="",
            message=episodes.sentence(each, now),
            age=ago((now - at).total_seconds()),
            at=at,
            state=each.state,
            detail=spoken(each.said("sentence")),
            why=spoken(each.said("why")),
            goes_on=each.ended_at is None,
            of=each.target,
        )


def _event_lines(now: datetime, limit: int) -> Iterator[EventLine]:
    yield from (
        EventLine(
            kind=event.get_kind_display(),
            target="" if event.target in event.message else event.target,
            author=event.author,
            message=spoken(event.sentence),
            age=ago((now - event.at).total_seconds()),
            at=event.at,
            of=event.target,
        )
        # Of a process that has died an episode tells.
        for event in Event.objects.using(control_alias()).exclude(kind=Event.Kind.PROCESS)[:limit]
    )
