"""From what lies in a store to heartbeats. Anything may lie there: what can't be read costs itself, and is named."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

from poolmgr.conf import ROLES
from poolmgr.metrics.decoding import Unreadable
from poolmgr.metrics.details import joined
from poolmgr.metrics.snapshot import MAX_BEAT, ProcessBeat, too_long
from poolmgr.metrics.totals import Total, believed

#: What one look at a store takes in: names of processes, and bytes of heartbeats.
MAX_NAMES, MAX_BYTES = 100_000, 16 * MAX_BEAT
#: The longest name of a process, as rows have it; of a target.
LONGEST_UID, LONGEST_TARGET = 64, 200
#: Totals that are read: one for each target and role.
MAX_TOTALS = 10_000
#: Seconds for which the number of a process's last gain is kept, after which a late copy would be added again, and a total
#: to which nobody adds.
TOLD_KEPT, TOTALS_KEPT = 86_400.0, 30 * 86_400.0


@dataclass(frozen=True, slots=True)
class Unread:
    """A process whose heartbeat is there and can't be used, or its details: ``why`` is a sentence without its full stop."""

    uid: str
    why: str


class Reading(NamedTuple):
    """The last beat of every live process, sorted by role, host and pid; those that can't be read, of which whoever has no
    readable details is among the others too, without them; how many names were not looked at, since there are more than
    ``MAX_NAMES``."""

    beats: tuple[ProcessBeat, ...]
    unread: tuple[Unread, ...] = ()
    left_out: int = 0

    @property
    def uids(self) -> set[str]:
        """Everybody who beats, readably or not."""
        return {beat.uid for beat in self.beats} | {each.uid for each in self.unread}


class Details(NamedTuple):
    """By uid, what can be read, and of whom something is there that can't be."""

    beats: Mapping[str, ProcessBeat]
    unread: tuple[Unread, ...] = ()


#: A text, or why it was not fetched; None where there is none.
Found = str | bytes | Unreadable | None


def read_beats(
    found: Iterable[tuple[str, Found]], left_out: int = 0, details: Mapping[str, Found] = MappingProxyType({})
) -> Reading:
    """From uids and what stands under each; ``details`` are by uid, as far as there are any."""
    beats: list[ProcessBeat] = []
    unread: list[Unread] = []
    for uid, text in found:
        try:
            beats.append(_of(uid, text))
        except Unreadable as error:
            unread.append(Unread(_shown(uid), str(error)))
    more = read_details((beat.uid, details.get(beat.uid)) for beat in beats)
    return Reading(in_order(completed(beats, more.beats)), by_uid(*unread, *more.unread), left_out)


def completed(beats: Iterable[ProcessBeat], details: Mapping[str, ProcessBeat], target: str = "") -> list[ProcessBeat]:
    """``beats`` with their ``details``, as far as there are any, or those of ``target`` alone."""
    return [joined(beat, details[beat.uid], target) if beat.uid in details else beat for beat in beats]


def read_details(found: Iterable[tuple[str, Found]]) -> Details:
    """For whoever has the rest of the beats already. Of whom there are none nothing is said."""
    read: dict[str, ProcessBeat] = {}
    unread: list[Unread] = []
    for uid, text in found:
        if text is None:
            continue
        try:
            read[uid] = _of(uid, text)
        except Unreadable as error:
            unread.append(Unread(_shown(uid), f"of its details, {error}"))
    return Details(read, by_uid(*unread))


def by_uid(*unread: Unread) -> tuple[Unread, ...]:
    return tuple(sorted(unread, key=lambda each: each.uid))


def _of(uid: str, text: Found) -> ProcessBeat:
    if isinstance(text, Unreadable):
        raise text
    if text is None:
        raise Unreadable("it is gone")
    if len(uid) > LONGEST_UID:
        raise Unreadable(f"its name has {len(uid)} characters, and the most are {LONGEST_UID}")
    beat = ProcessBeat.from_json(text)
    if beat.uid != uid:
        raise Unreadable("it is of another process than its place says")
    return beat


def total_of(target: Any, role: Any, sums: Any) -> Total | None:
    """What can be believed of what lies there; None where it is nobody's total."""
    if role not in ROLES or not isinstance(target, str) or not 0 < len(target) <= LONGEST_TARGET:
        return None
    sums = believed(sums)
    return Total(target, role, sums) if sums and target.isprintable() else None


def refusal_of(size: int, room: int) -> Unreadable | None:
    """Why a heartbeat of ``size`` bytes is not fetched where ``room`` bytes may still be; None when it may."""
    if size > MAX_BEAT:
        return too_long(size)
    if size > room:
        return Unreadable(f"all heartbeats together have more than {MAX_BYTES:,} bytes")
    return None


def _shown(uid: str) -> str:
    text = uid.encode(errors="replace").decode()
    return text if len(text) <= LONGEST_UID else f"{text[:LONGEST_UID]}…"


def in_order(beats: list[ProcessBeat]) -> tuple[ProcessBeat, ...]:
    return tuple(sorted(beats, key=lambda beat: (beat.role, beat.host, beat.pid)))
