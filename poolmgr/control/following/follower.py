"""One turn at the control database: read what is wanted, follow it, answer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from time import monotonic

from django.db.utils import Error as DatabaseError

from poolmgr.conf import conf
from poolmgr.control import reach
from poolmgr.control.access import control_alias, control_database, is_unmigrated, sentence_of
from poolmgr.control.deadline import deadline
from poolmgr.control.desired import Wishes, read_profiles, wishes
from poolmgr.control.following.orders import Orders, orders_for
from poolmgr.pools import registry

log = logging.getLogger("poolmgr.agent")

#: The longest that a turn may wait for an answer, in seconds. Heartbeats wait meanwhile.
_LONGEST = 5.0
#: Seconds between looks for tables that are not there: each look is an error in the server's log.
_UNMIGRATED = 30.0


class Follower:
    """Follows profiles and commands. Used by the agent's thread."""

    def __init__(self, uid: str, role: str, orders: Orders) -> None:
        self._uid = uid
        self._role = role
        self._orders = orders
        self._wishes = Wishes()
        self._error = ""
        self.failure: Exception | None = None  # what the last turn failed with
        self.informed = False  # whether what is wanted has been read, or can't be for want of tables
        self.due = 0.0  # on the monotonic clock

    @property
    def problem(self) -> str:
        """What keeps this process from following the rows, without secrets."""
        return self._error

    @property
    def invalid(self) -> Mapping[str, str]:
        """By target, what keeps it from following the profile of that one."""
        return self._wishes.invalid

    def turn(self, interval: float, then: Callable[[], None]) -> bool:
        """Read and follow; ``then`` runs last, on the same connection. True when anything changed.

        The next turn is due in ``interval`` seconds. No error of the database gets out: what was in force stays in force.
        """
        self.due = monotonic() + interval
        before = (self._wishes, self._error)
        acted = False
        try:
            with control_database() as alias, deadline(alias, _LONGEST):
                self._follow(wishes(read_profiles(), self._role, self._wishes.desired))
                acted = self._orders.carry_out(orders_for(self._uid))
                self._orders.unfinished.finish()
                self._orders.save()
                then()
        except Exception as error:  # whatever breaks here, the pools of the process go on
            # Counted from now: a server that was waited for in vain should not be waited for all the time.
            self.due = monotonic() + interval
            self._fail(error)
        else:
            self._fine()
        return acted or before != (self._wishes, self._error)

    def save_answers(self) -> None:
        """Write acknowledgements out of turn, as when a recycle ended."""
        try:
            with control_database() as alias, deadline(alias, _LONGEST):
                self._orders.save()
        except Exception as error:
            self._fail(error)

    def _follow(self, found: Wishes) -> None:
        for target, sentence in found.invalid.items():
            if self._wishes.invalid.get(target) != sentence:
                log.error("%s; %r keeps the settings it has", sentence, target)
        # Always, and not only on a change: a pool's settings may have been changed by hand in this process.
        registry.set_desired(found.desired)
        self._wishes = found
        self.informed = True

    def _fail(self, error: Exception) -> None:
        sentence = sentence_of(error)
        reach.lost(control_alias(), error)
        if is_unmigrated(error):
            self.due = monotonic() + max(_UNMIGRATED, conf().POLL_INTERVAL)
            self._follow(Wishes())
        if sentence != self._error:
            # What no server said is a bug of ours, and wants its traceback.
            log.warning("%s", sentence, exc_info=None if isinstance(error, DatabaseError) else error)
        self._error, self.failure = sentence, error.with_traceback(None)

    def _fine(self) -> None:
        reach.answered(control_alias())
        if self._error:
            log.info("the control database answers again")
        self._error, self.failure = "", None
