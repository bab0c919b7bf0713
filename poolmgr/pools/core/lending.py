"""Checkout and return."""

from __future__ import annotations

from time import monotonic
from weakref import ref

from poolmgr.pools import waits
from poolmgr.pools.core import explain, leasing, reclaiming, rounds, validation
from poolmgr.pools.core.leaving import give_up, leave, see_off
from poolmgr.pools.core.slot import Place, Slot
from poolmgr.pools.core.state import State
from poolmgr.pools.core.ticker import ticker
from poolmgr.pools.forks import attend, here
from poolmgr.pools.labels import current_label
from poolmgr.pools.owners import is_alive

#: Whoever took a place out of the queue serves or fails it at once; the longest, in seconds, that this is waited for.
_AT_ONCE = 1.0
#: Seconds after which whoever was handed a connection to give back is done with it.
_IN_A_MOMENT = 0.02


class Lending(State):
    """The state, with what borrowers do."""

    def checkout(self, timeout: float | None = None) -> Slot:
        """A live connection.

        ``timeout`` in seconds, by default the profile's ``connection_timeout``. Raises a ``CheckoutError`` that says
        why none could be had.
        """
        if not here:
            attend()
        asked = monotonic()
        idle = self.idle
        if idle and asked < self.lapses:  # a glance, so that a crowd that has to wait locks once each and not twice
            slot = None
            owner, label = self.current_owner(), current_label()
            with self.lock:
                if idle and not self.paused:
                    # The one used last: the others get to look idle, so that light traffic lets the pool shrink.
                    slot = idle.pop()
                    slot.owner = owner
                    slot.label = label
                    slot.since = asked
                    self.out.add(slot)
            if slot is not None:
                # What _is_fit() would find, where nothing but the look at the socket is asked for.
                looks_well = asked - slot.idle_since < self.trusted and not slot.has_news(0)
                if looks_well or self._is_fit(slot, asked, timeout):
                    self.wait_time.add(monotonic() - asked)
                    return slot
        return self._checkout_slowly(asked, timeout)

    def give_back(self, slot: Slot, fit: bool = True) -> bool:
        """End a checkout; False where it had ended before. What is not ``fit`` for others is closed.

        Another thread than the borrower's may give back, but not one that had this connection, or gave it back, before:
        then somebody else has it by now, if they still run.
        """
        if not here:
            attend()
        giver = self.current_owner()
        with self.lock:
            owner, epoch = slot.owner, slot.epoch
            if owner is None:
                return False
            if owner is not giver:
                if ref(giver) in slot.gave and is_alive(owner):
                    # Had they been handed it by its borrower, nobody refers to it in a moment.
                    ticker().at(monotonic() + _IN_A_MOMENT, self._take_back_dropped)
                    return False
                slot.gave.add(ref(owner))
            slot.gave.add(ref(giver))
        return self.put_back(slot, fit, epoch)

    def put_back(self, slot: Slot, fit: bool = True, epoch: int | None = None) -> bool:
        """The same for who knows that it is theirs still: the present checkout, or the one of this epoch if it isn't over.

        A clean return costs no round trip and waits for nothing.
        """
        if not here:
            attend()
        now = monotonic()
        with self.lock:
            if slot.owner is None or (epoch is not None and epoch != slot.epoch):
                return False
            slot.owner = None
            slot.epoch += 1
            self.out.discard(slot)
            self.use_time.add(held := now - slot.since)
            self.uses.add((slot.label, held, 0.0, 0.0, slot.noted, True))
            slot.noted = None
            if (
                fit
                and slot.expires > now
                and slot.generation == self.generation
                and self.places - len(self.leaving) <= (self.most_alone if self.predecessor is None else self.most)
                and not self.retired
                and now < self.lapses
            ):
                if self.waiting:
                    self.hand_on(slot, now)
                else:
                    slot.idle_since = now
                    self.idle.append(slot)
                return True
        self._put_away(slot, fit, now)
        return True

    def lend_on(self, slot: Slot, owner: object) -> None:
        """Note another owner of what is checked out than the thread that has done so; any thread may then give it back."""
        with self.lock:
            if slot.owner is not None:
                slot.owner = owner
                slot.gave.clear()

    def _take_back_dropped(self) -> None:
        reclaiming.take_back_dropped(self)

    def _put_away(self, slot: Slot, fit: bool, now: float) -> None:
        if now >= self.lapses:
            leasing.lapse(self)
        with self.lock:
            fit = fit and not slot.is_spoilt
            renews = fit and not self.retired and self.is_old(slot, now) and self.present <= self.most
            renews = renews and now < self.lapses
            if not renews:
                leave(self, slot)
        if renews:
            self.workers.run(lambda: rounds.renew(self, slot))
            return
        see_off(self, [slot])
        self.grow()

    def _checkout_slowly(self, asked: float, timeout: float | None) -> Slot:
        seconds = self.spec.connection_timeout if timeout is None else timeout
        deadline = asked + seconds
        if asked >= self.lapses:
            # Before anybody is served: this process may have been frozen for longer than its lease.
            leasing.lapse(self)
        has_waited = False
        while True:
            place = Place(self.current_owner())
            try:
                slot = self._wait(place, asked, max(0.001, deadline - monotonic()), seconds)
            except Exception as error:
                waits.tell(self.target, asked, error)
                raise
            has_waited = has_waited or place.has_waited
            now = monotonic()
            if self._is_fit(slot, now, deadline - now):
                self.wait_time.add(monotonic() - asked)
                if has_waited:
                    waits.tell(self.target, asked)
                return slot

    def _wait(self, place: Place, asked: float, left: float, timeout: float) -> Slot:
        """The next connection that is to be had. Whoever stops waiting leaves the queue and takes nothing along."""
        try:
            slot = self._take_or_queue(place)
            served = slot is not None or place.wait(left)
        except BaseException:
            if not self._leave(place) and place.slot is not None:
                self.give_back(place.slot)
            raise
        if slot is not None:
            return slot
        # Whoever took it out of the queue serves it at once, unless they were interrupted.
        if not served and (self._leave(place) or not place.wait(_AT_ONCE)):
            self.missed(monotonic() - asked)
            raise explain.timed_out(self, timeout)
        if place.error is not None:
            self.count(checkout_errors=1)
            raise place.error
        assert place.slot is not None
        return place.slot

    def _take_or_queue(self, place: Place) -> Slot | None:
        """An idle connection if there is one, else None, and ``place`` is in the queue."""
        beside = self.peers.pending_beside(self) if self.peers is not None and self.spec.max_waiting else 0
        with self.lock:
            if self.retired:
                raise explain.closed(self)
            now = monotonic()
            if self.idle and not self.paused and now < self.lapses:
                slot = self.idle.pop()
                self.lend(slot, place.owner, place.label, now)
                return slot
            # Others have waited for as long in vain. One of those who come calls a try each time, for the next to find.
            away = self.last_error if not self.paused and self.is_away(now) else None
            self.called = away is not None
            full = 0 < self.spec.max_waiting <= len(self.waiting) + beside
            if not full and away is None:
                # Since the last try the server may have come back, for all that anybody knows.
                place.hurries = self.is_overdue(now)
                self.waiting.append(place)
        if away is not None:
            self.grow()
            self.count(checkout_errors=1)
            raise explain.refused(self, away)
        if full:
            self.count(checkout_errors=1)
            raise explain.too_many(self)
        self.grow()
        return None

    def _leave(self, place: Place) -> bool:
        """Give up a place in the queue; False when somebody has taken it out, to serve or to fail it."""
        with self.lock:
            try:
                self.waiting.remove(place)
            except ValueError:
                return False
            return True

    def _is_fit(self, slot: Slot, now: float, timeout: float | None) -> bool:
        """Whether a connection just taken may be handed out; one that may not is dropped."""
        try:
            fault = validation.look(self, slot, now)
            if fault == validation.DOUBTFUL:
                fault = validation.answer(self, slot, timeout)
        except BaseException:  # the borrower is stopped, as by a KeyboardInterrupt, and an answer may be under way
            self.give_back(slot, fit=False)
            raise
        if not fault:
            return True
        self._drop(slot, fault)
        return False

    def _drop(self, slot: Slot, fault: str) -> None:
        """Part from a connection that was just taken and that may not be handed out."""
        with self.lock:
            slot.owner = None
            slot.epoch += 1
            self.out.discard(slot)
        give_up(self, slot)
        # One dead connection found means that every idle one is looked at.
        self.count(found_dead=1 + rounds.sweep(self, silent=fault == "silent"))
