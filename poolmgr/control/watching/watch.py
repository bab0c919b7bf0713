"""Who looks at the fleet for its episodes and its history: one process of all, which keeps what it could not write yet."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from time import monotonic, thread_time, time

from msgspec import Struct

from poolmgr.conf import conf
from poolmgr.control.desired import read_profiles
from poolmgr.control.events import record_dead
from poolmgr.control.holding import Hold, holds
from poolmgr.control.pruning import prune
from poolmgr.control.reporting.beats import Beats
from poolmgr.control.reporting.fleet import fleet_of, stored_checks
from poolmgr.control.reporting.views import Profiles
from poolmgr.control.store import FleetStore, StoreDown, live_uids
from poolmgr.control.watching import records
from poolmgr.control.watching.deaths import Deaths
from poolmgr.control.watching.differences import Differences
from poolmgr.control.watching.sampling import Sampler
from poolmgr.control.watching.seeing import sightings
from poolmgr.metrics.decoding import Unreadable, decode, encode
from poolmgr.metrics.episodes import MOST, Episode, Watched, step
from poolmgr.metrics.health import Checked
from poolmgr.targets.known import known_targets

log = logging.getLogger("poolmgr.agent")

#: What the lead is taken under; no target has such a name.
LEAD = "(episodes)"
#: Of PROCESS_TTL, how long the lead lasts, and the most seconds: while nobody leads, nobody looks.
_LASTS, _LONGEST = 0.5, 10.0
#: Of a look's time at the processor, how many times it lies between two: it takes a hundredth of one.
_COST = 100
#: Seconds between two looks at the largest of fleets: soon enough to see that what was so is so still.
_RARELY = 30.0
#: The longest note that is read, in bytes: about a kilobyte for each episode, of those that are known and those not written.
MAX_NOTE = 4 * 1024 * 1024
#: Seconds between two times that old rows are deleted, and from the beginning of a lead to the first.
_PRUNES, _SETTLED = 3600.0, 60.0
#: Seconds for which the next leader finds what this one knew.
_NOTED = 600.0

_Key = tuple[str, str, float]


class Note(Struct, frozen=True, omit_defaults=True):
    """What the leader knows, in the store: for the next one, while the rows can't be read."""

    watched: Watched = Watched()
    unsaved: tuple[Episode, ...] = ()


class Watch:
    """Used by the agent's thread: ``turn`` after a beat, ``tend`` in a turn at the control database."""

    def __init__(self, uid: str) -> None:
        self._uid = uid
        self._until = 0.0
        self._ask_due = 0.0
        self._forget()

    def _forget(self) -> None:
        self._resumed = False
        self._known = Watched()
        self._unsaved: dict[_Key, Episode] = {}
        self._told: dict[_Key, tuple[str, bool]] = {}
        self._noted = False
        self._gone: set[str] = set()
        self._deaths = Deaths()
        self._sweep_due = 0.0
        self._prune_due = monotonic() + _SETTLED
        self._due = 0.0
        self._differences = Differences()
        self._sampler = Sampler()
        self._profiles: Profiles | None = None
        self._checks: dict[str, Checked] = {}
        self._held: dict[str, Hold] = {}

    @property
    def _leads(self) -> bool:
        return monotonic() < self._until

    def turn(self, store: FleetStore, error: str = "") -> bool:
        """Look, if this process leads and it is time; True when ``tend`` is wanted soon. Raises ``StoreDown``.

        ``error`` says why the rows can't be read, as far as they can't.
        """
        if not self._lead(store):
            return False
        if not self._resumed and not error:
            return True
        if monotonic() < self._due:
            return self._sampler.is_due
        began = thread_time()
        if not self._resumed:
            self._resume(self._read_note(store), ())
        is_news = self._look(store, error)
        # More often than processes beat there is nothing new.
        cost = min(_COST * (thread_time() - began), _RARELY)
        self._due = monotonic() + max(conf().HEARTBEAT_INTERVAL, cost)
        return is_news or self._sampler.is_due

    def tend(self, store: FleetStore) -> None:
        """Read what only the rows know, and write what they don't know yet. Raises ``django.db.Error``."""
        if not self._leads:
            return
        self._profiles, self._checks = read_profiles(), stored_checks(known_targets())
        self._held = {target: hold for (target, database), hold in holds().items() if not database}
        if not self._resumed:
            try:
                note = self._read_note(store)
            except StoreDown:
                note = Note()
            self._resume(note, records.unfinished())
        records.save(self._unsaved.values())
        self._unsaved = {}
        self._bury()
        self._sampler.take(self._profiles, self._checks)
        if monotonic() >= self._prune_due:
            self._prune_due = monotonic() + _PRUNES
            prune()

    def give_up(self, store: FleetStore) -> None:
        """This process ends: another may lead at once. Raises ``StoreDown``."""
        if self._leads:
            self._until = 0.0
            store.give_up_lead(LEAD, self._uid)

    # -- the lead -----------------------------------------------------------------------------------------------------

    def _lead(self, store: FleetStore) -> bool:
        """Who has it asks in time to keep it; the others, of whom there may be a thousand, no oftener than it lasts."""
        now, seconds = monotonic(), _lasts()
        if now >= self._ask_due:
            led = self._leads
            if store.lead(LEAD, self._uid, seconds):
                self._until = now + seconds
                self._ask_due = now + seconds / 3
            else:
                self._until = 0.0
                self._ask_due = now + seconds
                if led:
                    log.info("another process keeps the fleet's episodes now")
                self._forget()
        return self._leads

    def _read_note(self, store: FleetStore) -> Note:
        (text,) = store.notes((LEAD,), MAX_NOTE)
        if not text:
            return Note()
        try:
            return decode(Note, text)
        except Unreadable as error:
            log.warning("What the last leader noted of episodes can't be read: %s", error)
            return Note()

    def _resume(self, note: Note, rows: Iterable[Episode]) -> None:
        """Go on where the last leader was, or this process itself."""
        written = {each.key: each for each in rows}
        found = dict(written)
        for each in (*note.watched.episodes, *note.unsaved, *self._known.episodes):
            if each.key not in found or each.seen >= found[each.key].seen:
                found[each.key] = each
        newest: dict[tuple[str, str], Episode] = {}
        for each in sorted(found.values(), key=lambda each: each.began):
            newest[each.target, each.family] = each
        at = max([note.watched.at, self._known.at, *(each.seen for each in written.values())])
        self._known = Watched(at, tuple(newest.values()))
        for each in note.unsaved:
            if each.key not in written or each.seen >= written[each.key].seen:
                self._unsaved.setdefault(each.key, each)
        self._resumed = True

    # -- a look -------------------------------------------------------------------------------------------------------

    def _look(self, store: FleetStore, error: str) -> bool:
        now = time()
        reading = store.read()
        beats = Beats(reading.beats, store.name, (), reading.unread)
        profiles, checks, held = (None, {}, {}) if error else (self._profiles, self._checks, self._held)
        fleet = fleet_of(beats, profiles, checks, error, held)
        self._sampler.see(fleet)
        self._deaths.look(fleet, reading.uids)
        seen = [*sightings(fleet, self._differences.turn(beats.processes, now)), *self._deaths.told()]
        self._known, news = step(self._known, seen, now)
        self._sweep(store)
        soon = self._keep(news) or bool(self._gone) or self._deaths.somebody_is_missing
        self._note(store)
        return soon

    def _keep(self, news: Iterable[Episode]) -> bool:
        """Whether any of it should be in the rows at once: it begins, ends, or got worse."""
        soon = False
        for each in news:
            told = each.state, bool(each.ended)
            soon |= self._told.get(each.key) != told
            self._told[each.key] = told
            self._unsaved[each.key] = each
        while len(self._unsaved) > MOST:
            del self._unsaved[next(iter(self._unsaved))]
        live = {each.key for each in self._known.episodes}
        self._told = {key: told for key, told in self._told.items() if key in live}
        return soon

    def _note(self, store: FleetStore) -> None:
        note = Note(self._known, tuple(self._unsaved.values()))
        is_of_use = bool(note.watched.episodes or note.unsaved)
        if is_of_use or self._noted:
            store.note(LEAD, encode(note).decode(), _NOTED)
        self._noted = is_of_use

    def _sweep(self, store: FleetStore) -> None:
        """Without Celery too, somebody notices who is gone."""
        if monotonic() >= self._sweep_due:
            self._sweep_due = monotonic() + _lasts()
            swept = store.sweep()
            self._gone.update(swept)
            self._deaths.swept(swept)

    def _bury(self) -> None:
        if not self._gone and not self._deaths.somebody_is_missing:
            return
        try:
            live = live_uids()
        except StoreDown:
            return
        # Who went to the other store, and left something old in this one, is not gone.
        self._deaths.confirm(live)
        record_dead(tuple(sorted(self._gone - live)))
        self._gone = set()


def _lasts() -> float:
    return min(_LASTS * conf().PROCESS_TTL, _LONGEST)
