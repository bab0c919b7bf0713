"""Commands from the console, as this process carries them out."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from threading import Lock, Thread
from time import time
from typing import cast
from weakref import WeakKeyDictionary

from django.db import Error
from django.db.models import Q
from django.db.models.functions import Now

from poolmgr.control.access import control_alias, control_transaction
from poolmgr.control.following.unfinished import Unfinished
from poolmgr.metrics.phrases import counted, cut, joined, phrase
from poolmgr.metrics.snapshot import Ack
from poolmgr.models import Acknowledgement, Command
from poolmgr.pools import registry
from poolmgr.pools.port import Led, Pool, Recycled
from poolmgr.targets.known import denied, kind_named

log = logging.getLogger("poolmgr.agent")

#: Seconds that a recycle may take to open the new connections; what is in use then is replaced as it returns.
RECYCLE_TIME = 30.0
#: Seconds that a server may take to pause or resume what is its own.
SETTLE_TIME = 10.0
_DONE = {
    "kill": phrase("killed, and paused until it is resumed"),
    "disable": phrase("disabled"),
    "enable": phrase("enabled"),
}
#: How many acknowledgements the heartbeat repeats.
_SHOWN = 10


def orders_for(uid: str) -> tuple[Command, ...]:
    """What a process should do, oldest first: until it expires, or the last that pauses or resumes however old.

    A pause holds until its resume, so that a process that starts meanwhile keeps it too, and so does a kill.
    Raises ``django.db.Error``.
    """
    mine = Command.objects.using(control_alias()).filter(process__in=["", uid])
    passing = ~Q(kind__in=Command.HOLDS) & Q(expires_at__gt=Now())
    return tuple(mine.filter(passing | Q(id__in=mine.holding())).order_by("id"))


class Orders:
    """Carries out commands once each, and remembers what to acknowledge. Used by the agent's thread."""

    def __init__(self, uid: str, on_change: Callable[[], None]) -> None:
        self._uid = uid
        self._on_change = on_change
        self._begun: set[int] = set()
        #: What each manager of a server's pools was told; one that was made anew knows nothing of it.
        self._told: WeakKeyDictionary[Pool, set[int]] = WeakKeyDictionary()
        # Guards the two below: recycles report from threads of their own.
        self._lock = Lock()
        self._unsaved: dict[int, Ack] = {}
        self._recent: deque[Ack] = deque(maxlen=_SHOWN)
        self.unfinished = Unfinished(uid, self._say, on_change)

    def carry_out(self, commands: tuple[Command, ...]) -> bool:
        """Begin what is new; True when anything was done."""
        acted = False
        for command in commands:
            pool = registry.get(command.target)
            # No pool: it stays open, for the case that one opens before the command expires.
            if pool is not None and self._applies(command, pool):
                acted = True
                self._begun.add(command.pk)
                self._told.setdefault(pool, set()).add(command.pk)
                self._carry_out(command, pool)
        return acted

    def _applies(self, command: Command, pool: Pool) -> bool:
        if command.pk not in self._begun:
            return True
        # A pool that was made anew while a pause holds.
        if kind_named(pool.kind).elsewhere:
            again = command.kind in Command.HOLDS and command.pk not in self._told.get(pool, ())
        else:
            again = command.kind in (Command.Kind.PAUSE, Command.Kind.KILL) and not pool.paused
        return again and not denied(command.kind, command.target, pool.kind, command.database)

    def _carry_out(self, command: Command, pool: Pool) -> None:
        log.info("%s, ordered by %s", command, command.author or "nobody in particular")
        if sentence := denied(command.kind, command.target, pool.kind, command.database):  # a row not made by us
            self._say(command, Acknowledgement.State.FAILED, sentence)
        elif command.kind in Command.CUTS:
            self._cut_off(command, cast(Led, pool))
        elif kind_named(pool.kind).elsewhere and command.kind != Command.Kind.RECYCLE:
            self._have_it_done(command, cast(Led, pool))
        elif command.kind == Command.Kind.PAUSE:
            pool.pause()
            self._say(command, Acknowledgement.State.DONE, phrase("paused"))
        elif command.kind == Command.Kind.RESUME:
            if pool.paused:
                pool.resume()
            self._say(command, Acknowledgement.State.DONE, phrase("open"))
        else:
            # The old connections stay in service while the new ones open, which may take seconds: not on this thread.
            self._say(command, Acknowledgement.State.RUNNING, "")
            Thread(
                target=self._recycle, args=(command, pool), name=f"poolmgr-recycle-{command.pk}", daemon=True
            ).start()

    def _have_it_done(self, command: Command, pool: Led) -> None:
        """Pause or resume what is a server's own: it is done when the server says so."""
        if command.kind == Command.Kind.RESUME and not pool.keeps_paused(command.database) and _was_done(command):
            return  # by whoever led before; a pause since is somebody else's
        (pool.pause if command.kind == Command.Kind.PAUSE else pool.resume)(command.database)
        self._say(command, Acknowledgement.State.RUNNING, "")
        Thread(target=self._settle, args=(command, pool), name=f"poolmgr-hold-{command.pk}", daemon=True).start()

    def _cut_off(self, command: Command, pool: Led) -> None:
        """Once in the whole fleet, and never late: who has come back since is not cut off again. A kill pauses beyond it."""
        try:
            is_mine = _claim(command, self._uid)
        except Error:
            self._begun.discard(command.pk)
            raise
        if is_mine:
            self._say(command, Acknowledgement.State.RUNNING, "")
            Thread(target=self._cut, args=(command, pool), name=f"poolmgr-cut-{command.pk}", daemon=True).start()
        elif command.kind == Command.Kind.KILL:
            pool.pause(command.database)

    def _cut(self, command: Command, pool: Led) -> None:
        try:
            failed = pool.cut_off(command.kind, command.database)
        except Exception as error:  # whatever it is, the operator must hear of it
            log.exception("%s failed", command)
            failed = phrase("%(error)s; see the log", error=type(error).__name__)
        if command.kind == Command.Kind.KILL:
            pool.pause(command.database)  # as it is by now; so it stays through a restart
        state = Acknowledgement.State.FAILED if failed else Acknowledgement.State.DONE
        self._say(command, state, failed or _DONE[command.kind])
        self._on_change()

    def _settle(self, command: Command, pool: Led) -> None:
        failed = pool.settle(SETTLE_TIME, command.database)
        done = phrase("paused") if command.kind == Command.Kind.PAUSE else phrase("open")
        state = Acknowledgement.State.FAILED if failed else Acknowledgement.State.DONE
        self._say(command, state, failed or done)
        self._on_change()

    def _recycle(self, command: Command, pool: Pool) -> None:
        try:
            if command.database:
                result = cast(Led, pool).recycle(RECYCLE_TIME, command.database)
            else:
                result = pool.recycle(RECYCLE_TIME)
        except Exception as error:  # whatever it is, the operator must hear of it
            log.exception("%s failed", command)
            failed = phrase("%(error)s while recycling; see the log", error=type(error).__name__)
            self._say(command, Acknowledgement.State.FAILED, failed)
        else:
            if result.failed:
                self._say(command, Acknowledgement.State.FAILED, result.failed)
            else:
                self._say(command, Acknowledgement.State.DONE, _recycled(result))
        self._on_change()

    def _say(self, command: Command, state: str, message: str) -> None:
        ack = Ack(command.pk, state, cut(message, 500), time())
        with self._lock:
            self._unsaved[command.pk] = ack
            self._recent = deque((*(each for each in self._recent if each.command != ack.command), ack), _SHOWN)

    def recent(self) -> tuple[Ack, ...]:
        with self._lock:
            return tuple(self._recent)

    @property
    def unsaved(self) -> bool:
        return bool(self._unsaved)

    def save(self) -> None:
        """Write acknowledgements; what can't be written is kept for the next time. Raises ``django.db.Error``."""
        with self._lock:
            waiting = dict(self._unsaved)
        for pk, ack in waiting.items():
            _write(pk, self._uid, ack)
            with self._lock:
                if self._unsaved.get(pk) is ack:
                    del self._unsaved[pk]


def _claim(command: Command, uid: str) -> bool:
    """Whether this process is the one to carry it out, which it writes down before it does. Raises ``django.db.Error``."""
    with control_transaction() as alias:
        # Two who lead for a moment, each by another store, ask one after the other.
        rows = Command.objects.using(alias).select_for_update().filter(pk=command.pk, expires_at__gt=Now())
        answers = Acknowledgement.objects.using(alias).filter(command=command)
        if rows.first() is None or answers.exists():
            return False
        answers.create(command=command, process=uid, state=Acknowledgement.State.RUNNING)
    return True


def _recycled(result: Recycled) -> str:
    replaced = phrase("%(n)s replaced", n=result.replaced)
    if not result.remaining:
        return replaced
    rest = counted(
        result.remaining, "%(n)s in use is replaced as it returns", "%(n)s in use are replaced as they return"
    )
    return joined("; ", [replaced, rest])


def _was_done(command: Command) -> bool:
    answers = Acknowledgement.objects.using(control_alias())
    return answers.filter(command=command, state=Acknowledgement.State.DONE).exists()


def _write(pk: int, uid: str, ack: Ack) -> None:
    acknowledgements = Acknowledgement.objects.using(control_alias())
    # The command may be pruned by now; then there is nothing to say.
    if Command.objects.using(control_alias()).filter(pk=pk).exists():
        row = Acknowledgement(command_id=pk, process=uid, state=ack.state, at=Now())
        row.sentence = ack.message
        acknowledgements.bulk_create(
            [row],
            update_conflicts=True,
            unique_fields=["command", "process"],
            update_fields=["state", "message", "message_told", "at"],
        )
