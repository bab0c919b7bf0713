"""A look at each target's server while somebody looks on: who blocks whom, and who else is there.

Whoever shows the fleet has it looked at, in a thread, at most every few seconds however many look on: in Redis what one
process has seen is every process's, and one looks for all; without Redis each looks for itself.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from threading import Event, Thread
from time import monotonic, time

from msgspec.structs import replace

from poolmgr.control.reporting.beats import Beats
from poolmgr.control.reporting.ours import our_pids_by_target
from poolmgr.control.reporting.probe import silence
from poolmgr.control.store import FleetStore, StoreDown, get_store
from poolmgr.exceptions import ConfigurationError
from poolmgr.identity import process_uid
from poolmgr.metrics.decoding import Unreadable
from poolmgr.metrics.phrases import bare, capital, cut, phrase
from poolmgr.metrics.seen import MAX_SEEN, Seen, counted
from poolmgr.metrics.words import NO_SLOT
from poolmgr.pools.diagnosis import diagnose
from poolmgr.pools.kinds import Kind
from poolmgr.pools.looking import Look
from poolmgr.targets.known import address_of, kinds_by_target, prepare_look, prober

#: Seconds for which what was seen is shared.
SHARED = 3.0
#: Seconds that a look may take, and that a page waits for one.
PATIENCE, _PAGE = 4.0, 0.5
#: Seconds for which the last figures are kept in the store.
KEPT = 24 * 3600.0


class Looks:
    """Of one process. Nothing is locked: each step on a dictionary is whole, and a child that was forked in the middle of a
    look forgets it when that would have been over."""

    def __init__(self) -> None:
        self._seen: dict[str, Seen] = {}
        self._begun: dict[str, tuple[float, Event]] = {}

    def of(self, beats: Beats, target: str = "") -> dict[str, Seen]:
        """What was seen of each target in use whose server tells such things, or of that one alone, the newest that anybody
        has. Never raises.

        Waits for half a second at most, and only where the last look got an answer.
        """
        used = {pool.target for beat in beats.processes for pool in beat.pools if target in ("", pool.target)}
        targets = {target: kind for target, kind in kinds_by_target().items() if kind.tells_sessions and target in used}
        self._fetch(tuple(targets))
        begun = [ended for target, kind in targets.items() if (ended := self._look(target, kind, beats))]
        deadline = monotonic() + _PAGE
        for ended in begun:
            ended.wait(max(0.0, deadline - monotonic()))
        return {target: seen for target in targets if (seen := self._seen.get(target))}

    def _fetch(self, targets: tuple[str, ...]) -> None:
        for target, found in shared(targets).items():
            # One from a clock that goes ahead would be the newest for ever.
            if _age_of(self._seen.get(target)) > _age_of(found) >= -SHARED:
                self._seen[target] = found

    def _look(self, target: str, kind: Kind, beats: Beats) -> Event | None:
        """Have it looked at unless that was just done; what to wait for, if anything."""
        seen, now = self._seen.get(target), monotonic()
        if _age_of(seen) < SHARED:
            return None
        mine = (now, Event())
        if now - self._begun.get(target, (-2 * PATIENCE, None))[0] < 2 * PATIENCE:
            return None  # under way
        self._begun[target] = mine
        store = note_store()
        with suppress(StoreDown):
            if store is not None and not store.lead(note_name(target), process_uid(), SHARED):
                # Another process is at it; its answer is there with the next page.
                self._begun.pop(target, None)
                return None
        ours = our_pids_by_target(target, beats.processes)
        with suppress(Exception):  # which the look tells
            prepare_look(kind, target)
        Thread(target=self._run, args=(target, kind, ours, store, mine[1]), name="poolmgr-look", daemon=True).start()
        return None if seen is not None and seen.error else mine[1]

    def _run(
        self, target: str, kind: Kind, ours: Mapping[str, Collection[int]], store: FleetStore | None, ended: Event
    ) -> None:
        try:
            seen = self._seen[target] = self._found(target, _seen_at(target, kind, ours))
            if store is not None:
                with suppress(StoreDown):
                    store.note(note_name(target), seen.to_text(), KEPT)
        finally:
            self._begun.pop(target, None)
            ended.set()

    def take(self, target: str, seen: Seen) -> None:
        """What this process has seen in another way."""
        self._seen[target] = seen

    def _found(self, target: str, found: Seen) -> Seen:
        """What a look found; where that is nothing, the newest that anybody has, and why."""
        if not found.error:
            return found
        self._fetch((target,))
        newest = self._seen.get(target) or Seen()
        # Somebody whose pool is let in may tell what a look of its own can't find out.
        is_told = NO_SLOT in found.error.lower() and time() - newest.at < 2 * SHARED
        return replace(newest, tried=found.tried, error="" if is_told else found.error)


looks = Looks()


def shared(targets: tuple[str, ...]) -> dict[str, Seen]:
    """What the processes of the fleet have seen of these, as far as a store keeps it; asks no server. Never raises."""
    found: dict[str, Seen] = {}
    if not targets or (store := note_store()) is None:
        return found
    with suppress(StoreDown):
        for target, text in zip(targets, store.notes(tuple(map(note_name, targets)), MAX_SEEN), strict=True):
            with suppress(Unreadable):
                found[target] = Seen.from_text(text) if text else Seen()
    return found


def note_store() -> FleetStore | None:
    """The store that keeps notes, if there is one."""
    try:
        store = get_store()
    except ConfigurationError:
        return None
    return store if store.pushes else None


def note_name(target: str) -> str:
    return f"look:{target}"


def _age_of(seen: Seen | None) -> float:
    """Seconds since the last try."""
    return time() - seen.tried if seen is not None else float("inf")


def _seen_at(target: str, kind: Kind, ours: Mapping[str, Collection[int]]) -> Seen:
    """What a look finds; where it finds nothing, why. Never raises."""
    look = Look(address_of(target))
    try:
        prober(kind)(target, look, lambda: _query(kind), monotonic() + PATIENCE, silence())
    except Exception as error:  # whatever keeps it from an answer is the result
        return Seen(tried=time(), error=_sentence(error))
    return seen_by(look, ours)


def _sentence(error: Exception) -> str:
    return phrase("%(error)s.", error=capital(cut(bare(diagnose(error).sentence), 300)))


def _query(kind: Kind) -> str:
    """Not the site's own, which may be dear: health checks ask that."""
    return kind.defaults.validation_query


def seen_by(look: Look, ours: Mapping[str, Collection[int]]) -> Seen:
    """What ``look`` has found, with the fleet's connections taken for what they are."""
    by_target, others, strangers = counted(look.groups, look.ids or (), {} if look.behind_pooler else ours, look.young)
    return Seen(
        at=(now := time()),
        tried=now,
        used=look.used or 0,
        most=look.most or 0,
        reserved=look.reserved or 0,
        ours=by_target,
        others=others,
        strangers=strangers,
        waiting=look.waiting,
        sessions=look.sessions,
        hidden=look.hidden,
        behind_pooler=look.behind_pooler,
    )
