"""Recycling a target in one process after another, so that the server never meets the whole fleet's connects at once.

Everything that a driver knows is in rows: the run is a command of its own, with an acknowledgement for each process as
its plan, and its ``expires_at`` is the driver's lease. Whoever finds a lease that has run out goes on from there.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta

from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from poolmgr.conf import conf
from poolmgr.control.access import control_alias, control_database, control_transaction, from_now, try_lock
from poolmgr.control.commanding.commands import send
from poolmgr.control.events import record
from poolmgr.control.reporting.beats import read_everybody
from poolmgr.control.store import StoreDown, live_uids
from poolmgr.metrics.phrases import counted, phrase
from poolmgr.models import Acknowledgement, Command, Event
from poolmgr.models.sentences import kept
from poolmgr.targets.known import denied

_State = Acknowledgement.State
_OPEN = (_State.WAITING, _State.RUNNING)

#: Seconds for which a driver may be silent before another takes over.
LEASE = timedelta(seconds=15)
#: A run this old is given up: what it was ordered for has long been done otherwise.
_STALE = timedelta(hours=1)
#: Seconds between looks whether the process has answered.
_LOOK = 0.2


class Lost(Exception):
    """Another driver has taken over."""


class Nobody(Exception):
    """No process is known that could be recycled, and why not, as sentences."""


def order(target: str, author: str) -> Command:
    """The unfinished run of a target, or a new one with a plan of every live process that has the pool.

    Raises ``Nobody`` and ``django.db.Error``.
    """
    beats = read_everybody()
    uids = [beat.uid for beat in beats.processes if any(pool.target == target for pool in beat.pools)]
    with control_transaction() as alias:
        # Two who order at once get the same run; the second waits for the first.
        while not try_lock(f"rolling:{target}"):
            time.sleep(0.05)
        run = unfinished().filter(target=target).first()
        if run is None:
            if not uids and beats.errors:
                raise Nobody(" ".join(beats.errors))
            run = Command(kind=Command.Kind.RECYCLE, target=target, process=Command.ROLLING, author=author)
            run.expires_at = from_now(timedelta())
            run.save(using=alias)
            run.refresh_from_db(using=alias, fields=["expires_at"])
            plan = [Acknowledgement(command=run, process=uid, state=_State.WAITING) for uid in uids]
            Acknowledgement.objects.using(alias).bulk_create(plan)
            record(Event.Kind.COMMAND, target, author, run.sentence)
    return run


def unfinished() -> QuerySet[Command]:
    """Runs that nobody has ended, the oldest first."""
    ended = Acknowledgement.objects.using(control_alias()).filter(process="").values("command")
    runs = Command.objects.using(control_alias()).filter(process=Command.ROLLING).exclude(pk__in=ended)
    return runs.filter(created_at__gt=timezone.now() - _STALE).order_by("id")


def abandoned() -> tuple[Command, ...]:
    """Runs whose driver is gone, or that nobody has begun to drive. Raises ``django.db.Error``."""
    return tuple(unfinished().filter(expires_at__lte=Now()))


def drive(target: str, author: str) -> str:
    """Take the target's run to its end, beginning one if there is none; a sentence that says what became of it.

    Blocks for as long as it takes. Raises ``django.db.Error``; the run then waits for the next driver.
    """
    if sentence := denied(Command.Kind.RECYCLE, target):
        return sentence
    with control_database():
        try:
            run = order(target, author)
        except Nobody as why:
            return f"Nothing of {target} is recycled, since no process is known. {why}"
        lease = _Lease(run)
        if not lease.claim():
            return f"Another worker recycles {target} already."
    try:
        while uid := _next(run):
            _one(run, uid, lease)
    except Lost:
        return f"Another worker took over the recycle of {target}."
    return _finish(run)


class _Lease:
    """The right to drive, kept by comparing and setting ``expires_at``, by the control database's clock."""

    def __init__(self, run: Command) -> None:
        self._run = run
        self._until: datetime = run.expires_at
        self._renewed = 0.0

    def claim(self) -> bool:
        return self._set(self._rows().filter(expires_at__lte=Now()))

    def renew(self) -> None:
        """Raises ``Lost``."""
        if time.monotonic() - self._renewed > LEASE.total_seconds() / 2 and not self._set(self._rows()):
            raise Lost

    def _rows(self) -> QuerySet[Command]:
        return Command.objects.using(control_alias()).filter(pk=self._run.pk, expires_at=self._until)

    def _set(self, rows: QuerySet[Command]) -> bool:
        now = time.monotonic()
        with control_transaction():
            if not rows.update(expires_at=from_now(LEASE)):
                return False
            # In one transaction with the setting: what another driver sets must not be taken for ours.
            self._run.refresh_from_db(using=control_alias(), fields=["expires_at"])
        self._until, self._renewed = self._run.expires_at, now
        return True


def _next(run: Command) -> str:
    """The process whose turn it is: first the one that a driver before us left half-way. Empty at the end."""
    with control_database() as alias:
        plan = Acknowledgement.objects.using(alias).filter(command=run, state__in=_OPEN).exclude(process="")
        # "running" sorts before "waiting".
        first = plan.order_by("state", "id").values_list("process", flat=True).first()
    return first or ""


def _one(run: Command, uid: str, lease: _Lease) -> None:
    with control_database():
        lease.renew()
        _note(run, uid, _State.RUNNING, "")
        command = _command(run, uid)
    while True:
        with control_database() as alias:
            lease.renew()
            answer = Acknowledgement.objects.using(alias).filter(command=command, process=uid).first()
            if answer and answer.state not in _OPEN:
                return _note(run, uid, answer.state, answer.sentence)
            if _is_gone(uid):
                return _note(run, uid, _State.DONE, phrase("ended by itself, and its connections with it"))
            # A process that began in time may finish.
            grace = timedelta(seconds=conf().COMMAND_TTL if answer else 0)
            if Command.objects.using(alias).filter(pk=command.pk, expires_at__lte=Now() - grace).exists():
                return _note(
                    run, uid, _State.FAILED, phrase("no answer within %(time)s s", time=float(conf().COMMAND_TTL))
                )
        time.sleep(_LOOK)


def _is_gone(uid: str) -> bool:
    try:
        return uid not in live_uids()
    except StoreDown:
        return False  # nobody knows; its answer decides, or the lack of one


def _command(run: Command, uid: str) -> Command:
    """The order to one process; the one that a driver before us gave, if there is."""
    given = Command.objects.using(control_alias()).filter(pk__gt=run.pk, kind=run.kind, target=run.target, process=uid)
    return given.first() or send(run.kind, run.target, run.author, uid)


def _note(run: Command, uid: str, state: str, message: str) -> None:
    rows = Acknowledgement.objects.using(control_alias())
    said, told = kept(message, 500)
    rows.update_or_create(command=run, process=uid, defaults={"state": state, "message": said, "message_told": told})


def _finish(run: Command) -> str:
    with control_database() as alias:
        states = list(
            Acknowledgement.objects.using(alias).filter(command=run).exclude(process="").values_list("state", flat=True)
        )
        failed = states.count(_State.FAILED)
        sentence = _done(len(states), failed, run.target)
        _note(run, "", _State.FAILED if failed else _State.DONE, sentence)
    return sentence


def _done(processes: int, failed: int, target: str) -> str:
    done = counted(
        processes,
        "%(done)s of %(n)s process recycled %(target)s",
        "%(done)s of %(n)s processes recycled %(target)s",
        done=processes - failed,
        target=target,
    )
    if failed:
        return phrase("%(done)s; %(failed)s failed.", done=done, failed=failed)
    return phrase("%(done)s.", done=done)
