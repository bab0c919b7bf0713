"""Which of a server's sessions are the fleet's, and whose."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from poolmgr.metrics.phrases import phrase
from poolmgr.metrics.snapshot import Holder, PoolSnapshot, ProcessBeat
from poolmgr.pools import registry
from poolmgr.targets.known import address_of, kind_named


def our_pids(target: str, beats: Iterable[ProcessBeat]) -> set[int]:
    """The server processes behind the fleet's pools to the server of ``target``, this process's own as of now.

    Of whatever target: two aliases of one server, or an engine beside them, are no strangers to each other.
    """
    return set().union(*our_pids_by_target(target, beats).values())


def our_pids_by_target(target: str, beats: Iterable[ProcessBeat]) -> dict[str, set[int]]:
    """The same by the target that they are of."""
    found: dict[str, set[int]] = {}
    own = (pool.snapshot() for pool in registry.pools())
    there = _there(target, (pool for beat in beats for pool in beat.pools))
    for pool in (*_there(target, own), *there):
        found.setdefault(pool.target, set()).update(pool.backend_pids)
    return found


def pooler_pids(target: str, beats: Iterable[ProcessBeat]) -> set[int]:
    """The server processes of a pooler that is a target too and stands where ``target`` leads to, as it was seen last."""
    pools = _there(target, (pool for beat in beats for pool in beat.pools))
    return {pid for pool in pools if kind_named(pool.kind).elsewhere for pid in pool.backend_pids}


class Whose(NamedTuple):
    """A connection of the fleet's: its process, the target of its pool, and its holder where that is told."""

    beat: ProcessBeat
    target: str
    holder: Holder | None

    @property
    def place(self) -> str:
        return f"{self.beat.role} {self.beat.host}:{self.beat.pid}"


def holders(target: str, beats: Iterable[ProcessBeat]) -> dict[int, Whose]:
    """Whose each connection of the fleet's to the server of ``target`` is, by the number of its end."""
    found: dict[int, Whose] = {}
    for beat in beats:
        for pool in _there(target, beat.pools):
            found.update(dict.fromkeys(pool.backend_pids, Whose(beat, pool.target, None)))
            told = {each.backend_pid: Whose(beat, pool.target, each) for each in pool.holders if each.backend_pid}
            found.update(told)
    return found


def names(target: str, beats: Iterable[ProcessBeat]) -> dict[int, str]:
    """What a sentence calls the session behind each of them."""
    return {pid: _called(whose) for pid, whose in holders(target, beats).items()}


def _called(whose: Whose) -> str:
    holder = whose.holder
    if holder is None or not holder.label:
        return whose.place
    request = f" [{holder.request}]" if holder.request else ""
    return phrase("%(who)s in %(place)s", who=f"{holder.label}{request}", place=whose.place)


def _there(target: str, pools: Iterable[PoolSnapshot]) -> Iterator[PoolSnapshot]:
    places = _servers(address_of(target))
    return (pool for pool in pools if pool.target == target or places & _servers(pool.address))


def _servers(address: str) -> set[str]:
    """Host and port of each that is in an address, as people read it."""
    return {place for each in address.split(", ") if (place := each.partition("/")[0])}
