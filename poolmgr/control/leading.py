"""Which process of the fleet manages a target whose pools are a server's own, such as a PgBouncer's."""

from __future__ import annotations

import logging
from functools import partial
from time import monotonic
from typing import cast

from poolmgr.conf import conf
from poolmgr.control.store import FleetStore
from poolmgr.exceptions import ConfigurationError
from poolmgr.metrics.phrases import joined, phrase
from poolmgr.pools import registry
from poolmgr.pools.port import Led
from poolmgr.targets.known import led_targets, manager

log = logging.getLogger("poolmgr.agent")

#: Of PROCESS_TTL, how long a lead lasts. Everybody asks at least every third of it, so that a lead that ended has another
#: within PROCESS_TTL.
_LASTS = 0.5


class Leading:
    """Takes and keeps the lead of whatever has none, by the store that this process beats in. Used by the agent's thread.

    The pool acts until its lead is over by this process's own clock, which began before the store was asked: a process that
    was frozen does nothing when it wakes.
    """

    def __init__(self, uid: str) -> None:
        self._uid = uid
        self._led: dict[str, float] = {}
        self.problem = ""

    def turn(self, store: FleetStore) -> bool:
        """Ask for each target; True when this process leads others than before. Raises ``StoreDown``."""
        before = frozenset(self._led)
        try:
            self._ask(store)
        finally:
            # What the store has not said otherwise holds until it is over.
            self._lapse()
        failed = [wrong for target, until in self._led.items() if (wrong := self._lead(target, until))]
        told = joined(" ", failed)
        if told and told != self.problem:
            log.error("%s", told)
        self.problem = told
        return before != frozenset(self._led)

    def _ask(self, store: FleetStore) -> None:
        seconds = _LASTS * conf().PROCESS_TTL
        for target in led_targets():
            sent = monotonic()
            if store.lead(target, self._uid, seconds):
                self._led[target] = sent + seconds
            else:
                self._led.pop(target, None)

    def _lapse(self) -> None:
        now = monotonic()
        self._led = {target: until for target, until in self._led.items() if now < until}
        for target in led_targets():
            if target not in self._led and (pool := registry.get(target)) is not None:
                log.info("another process manages %r now", target)
                registry.close(pool.target, 0.0)

    def _lead(self, target: str, until: float) -> str:
        """A sentence on what keeps it from that."""
        try:
            pool = registry.get_or_make(target, partial(manager, target))
        except ConfigurationError as error:
            return phrase("'%(target)s' is not managed: %(error)s.", target=target, error=str(error))
        cast(Led, pool).lead(until)
        return ""

    def give_up(self, store: FleetStore) -> None:
        """This process ends: another may lead at once. Raises ``StoreDown``."""
        for target in self._led:
            registry.close(target, 1.0)
            store.give_up_lead(target, self._uid)
        self._led = {}
