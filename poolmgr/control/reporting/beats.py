"""Who lives: the heartbeats of both stores."""

from __future__ import annotations

from collections.abc import Collection
from time import monotonic, sleep
from typing import NamedTuple

from poolmgr.conf import conf
from poolmgr.control.access import sentence_of, sheltered
from poolmgr.control.store import FleetStore, StoreDown, get_store
from poolmgr.control.store.database import DatabaseStore
from poolmgr.control.store.reading import Reading, Unread, by_uid, completed
from poolmgr.exceptions import ConfigurationError
from poolmgr.metrics.phrases import bare, counted, phrase
from poolmgr.metrics.snapshot import ProcessBeat
from poolmgr.pools.lane import console_lane

#: Seconds between two questions to a store that can't be read.
_AGAIN = 0.2


class Beats(NamedTuple):
    """The live processes, the store that they were read from, if any, a sentence for each store that can't be read, and
    whose beats can't be read, or the details of them."""

    processes: tuple[ProcessBeat, ...]
    store: str
    errors: tuple[str, ...]
    unread: tuple[Unread, ...] = ()


def read_beats(rows: bool = True, details: bool = True) -> Beats:
    """Never raises. Without ``rows`` the control database, known to be away, is not asked for any; without ``details`` the
    beats are as ``metrics/details.py`` has them."""
    errors: list[str] = []
    try:
        stores = _stores()
    except ConfigurationError as error:
        return Beats((), "", (sentence_of(error),))
    for each in stores if rows else stores[: stores[0].pushes]:
        try:
            found = _read(each, details)
        except StoreDown as error:
            errors.append(_sentence(each, error))
        else:
            if found.left_out:
                errors.append(
                    counted(
                        found.left_out,
                        "The store names %(n)s more process than are looked at; sweep it.",
                        "The store names %(n)s more processes than are looked at; sweep it.",
                    )
                )
            return Beats(found.beats, each.name, tuple(errors), found.unread)
    return Beats((), "", tuple(errors))


def with_details(beats: Beats, uids: Collection[str], target: str = "") -> Beats:
    """``beats`` that were read without details, with those of some processes, or of their pools to ``target`` alone.

    Never raises: what can't be read stays away.
    """
    try:
        store = next((each for each in _stores() if each.name == beats.store), None)
        if store is None or not uids:
            return beats
        with sheltered():
            told = store.details(uids)
    except (StoreDown, ConfigurationError):
        return beats
    return beats._replace(
        processes=tuple(completed(beats.processes, told.beats, target)), unread=by_uid(*beats.unread, *told.unread)
    )


def read_everybody() -> Beats:
    """The live processes of both stores, for whoever must pass over none. Never raises.

    A store that can't be read is asked again for as long as it may take whoever beat there to go to the other one.
    """
    try:
        stores = _stores()
    except ConfigurationError as error:
        return Beats((), "", (sentence_of(error),))
    deadline = monotonic() + _moving()
    while True:
        is_last = monotonic() >= deadline
        found: dict[str, ProcessBeat] = {}
        errors: list[str] = []
        for each in stores:
            try:
                # Whose patience is new at each question.
                with console_lane(anew=True):
                    found |= {beat.uid: beat for beat in _read(each).beats}
            except StoreDown as error:
                errors.append(_sentence(each, error))
        if not errors or is_last:
            return Beats(tuple(found.values()), "", tuple(errors))
        sleep(_AGAIN)


def read_settled() -> Beats | None:
    """The live processes of both stores, each of which is asked once. Never raises.

    None where a store can't be read, unless it is Redis and somebody has known that for so long that all beat in rows.
    """
    try:
        stores = _stores()
    except ConfigurationError:
        return None
    found: dict[str, ProcessBeat] = {}
    lost = False
    for each in stores:
        try:
            beats = _read(each).beats
        except StoreDown:
            if not each.pushes:
                return None
            lost = True
        else:
            # Of one that has just gone to the other store the newer.
            found |= {beat.uid: beat for beat in beats if beat.uid not in found or beat.at > found[beat.uid].at}
    known = max((beat.at - beat.store_lost for beat in found.values() if beat.store_lost), default=0.0)
    return None if lost and known < _moving() else Beats(tuple(found.values()), stores[0].name, ())


def _moving() -> float:
    """Seconds within which all processes have gone from one store to the other."""
    return 2 * conf().HEARTBEAT_INTERVAL + 1


def _stores() -> tuple[FleetStore, ...]:
    """Where processes beat: into rows while Redis is away for them. Raises ``ConfigurationError``."""
    store = get_store()
    return (store, DatabaseStore()) if store.pushes else (store,)


def _read(store: FleetStore, details: bool = False) -> Reading:
    with sheltered():
        return store.read(details)


def _sentence(store: FleetStore, error: StoreDown) -> str:
    if store.name == "database":
        return phrase("%(said)s.", said=bare(error.sentence))
    return phrase(
        "%(error)s: heartbeats go through the control database, and processes find changes at their next poll.",
        error=bare(error.sentence),
    )
