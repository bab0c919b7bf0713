"""Kills whose process died in the middle of them, which leave a server's databases disabled that nobody has ordered to be."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from threading import Thread
from typing import cast

from poolmgr.control.access import control_alias
from poolmgr.control.store import StoreDown, live_uids
from poolmgr.metrics.phrases import phrase
from poolmgr.models import Acknowledgement, Command
from poolmgr.pools import registry
from poolmgr.pools.port import Led
from poolmgr.targets.known import databases_of, kind_named

log = logging.getLogger("poolmgr.agent")

_OF_NEW_CLIENTS = {Command.Kind.DISABLE, Command.Kind.ENABLE}
_SAID = phrase(
    "the process that did it ended in the middle of it: maybe not all of its clients were cut off; what it had disabled for"
    " the moment is enabled again"
)


class Unfinished:
    """Ends them for this process while it leads. Used by the agent's thread.

    ``say`` writes an answer to a command, ``on_change`` has it told soon.
    """

    def __init__(self, uid: str, say: Callable[[Command, str, str], None], on_change: Callable[[], None]) -> None:
        self._uid = uid
        self._say = say
        self._on_change = on_change
        self._begun: set[int] = set()
        self._told: dict[int, str] = {}

    def finish(self) -> None:
        """Begin with what is new. Raises ``django.db.Error``."""
        led = {pool.target: cast(Led, pool) for pool in registry.pools() if kind_named(pool.kind).elsewhere}
        if not led:
            return
        for command, by in _begun_in(led, self._uid):
            if command.pk not in self._begun and not _is_alive(by):
                self._begun.add(command.pk)
                pool, spared = led[command.target], _disabled_by_order(command.target)
                args = (command, pool, spared)
                Thread(target=self._let_in, args=args, name=f"poolmgr-let-in-{command.pk}", daemon=True).start()

    def _let_in(self, command: Command, pool: Led, spared: Collection[str]) -> None:
        try:
            failed = pool.let_in(command.database, spared)
        except Exception as error:  # whatever it is, it must be tried again
            log.exception("what %s left could not be undone", command)
            failed = f"{type(error).__name__}; see the log"
        if failed:
            if self._told.get(command.pk) != failed:
                log.warning("what %s left is not undone, and is tried again: %s", command, failed)
            self._told[command.pk] = failed
            self._begun.discard(command.pk)
            return
        log.warning("%s: %s", command, _SAID)
        self._say(command, Acknowledgement.State.FAILED, _SAID)
        self._on_change()


def _begun_in(targets: Collection[str], uid: str) -> list[tuple[Command, str]]:
    """The kills that another process has begun and nobody has ended, and which."""
    ended = [Acknowledgement.State.DONE, Acknowledgement.State.FAILED]
    kills = Command.objects.using(control_alias()).filter(kind=Command.Kind.KILL, target__in=list(targets))
    kills = kills.exclude(acknowledgements__state__in=ended)
    answers = Acknowledgement.objects.using(control_alias()).filter(command__in=kills).exclude(process=uid)
    return [(each.command, each.process) for each in answers.select_related("command")]


def _is_alive(uid: str) -> bool:
    """Whether a process beats, or may: it ends by itself what it is at, within a deadline."""
    try:
        return uid in live_uids()
    except StoreDown:
        return True


def _disabled_by_order(target: str) -> frozenset[str]:
    """The databases of which the last that was ordered, of one or of all, is to be disabled."""
    rows = Command.objects.using(control_alias()).filter(target=target)
    last = dict(rows.filter(pk__in=rows.holding(_OF_NEW_CLIENTS)).values_list("database", "kind"))
    return frozenset(name for name in databases_of(target) if last.get(name, last.get("")) == Command.Kind.DISABLE)
