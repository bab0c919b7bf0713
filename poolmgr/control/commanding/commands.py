"""Orders to the fleet: how they are given, and how far they got."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from poolmgr.conf import conf
from poolmgr.control.access import control_alias, control_transaction, from_now
from poolmgr.control.events import record
from poolmgr.control.push import notify_after_commit
from poolmgr.control.store import StoreDown, get_store
from poolmgr.models import Acknowledgement, Command, Event
from poolmgr.targets.known import denied


class Denied(ValueError):
    """A command that makes no sense for the kind of its target; the message is a sentence for whoever gives it."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Processes that are done, failed or at it, of ``total`` that the command concerns; the rest has yet to begin."""

    done: int
    failed: int
    running: int
    total: int


def send(kind: str, target: str, author: str, process: str = "", database: str = "") -> Command:
    """Order ``kind`` (one of ``Command.Kind``) for a target: in all processes, or in the one with the uid ``process``.

    ``database`` is the one of a PgBouncer that is meant, if not all. Raises ``ValueError`` for an unknown kind, ``Denied``
    for what the target makes no sense of, and ``django.db.Error``.
    """
    if kind not in Command.Kind.values:
        raise ValueError(f"{kind!r} is not one of {', '.join(Command.Kind.values)}")
    if sentence := denied(kind, target, database=database):
        raise Denied(sentence)
    with control_transaction():
        command = Command(
            kind=kind,
            target=target,
            database=database,
            process=process,
            author=author,
            expires_at=from_now(timedelta(seconds=conf().COMMAND_TTL)),
        )
        command.save(using=control_alias())
        command.refresh_from_db(using=control_alias(), fields=["expires_at"])
        record(Event.Kind.COMMAND, target, author, command.sentence)
        notify_after_commit()
    return command


def progress(command: Command) -> Progress:
    """How far a command got.

    It concerns whoever answered, and the live processes that have the pool and could still answer.
    Raises ``django.db.Error``.
    """
    answers = dict(command.acknowledgements.using(control_alias()).values_list("process", "state"))
    # The empty process is the summary of a rolling recycle.
    answers.pop("", None)
    states = list(answers.values())
    return Progress(
        done=states.count(Acknowledgement.State.DONE),
        failed=states.count(Acknowledgement.State.FAILED),
        running=states.count(Acknowledgement.State.RUNNING),
        total=len(answers.keys() | _concerned(command)),
    )


def _concerned(command: Command) -> set[str]:
    if command.process == Command.ROLLING:
        return set()  # its plan has a row for each process
    try:
        beats = get_store().processes()
    except StoreDown:
        return set()
    late = command.expires_at.timestamp()
    return {
        beat.uid
        for beat in beats
        if (not command.process or command.process == beat.uid)
        and beat.started < late
        and any(pool.target == command.target for pool in beat.pools)
    }


def recent(target: str | None = None, limit: int = 10) -> tuple[Command, ...]:
    """The newest commands first, of one target or of all. Raises ``django.db.Error``."""
    commands = Command.objects.using(control_alias()).order_by("-id")
    if target is not None:
        commands = commands.filter(target=target)
    return tuple(commands[:limit])
