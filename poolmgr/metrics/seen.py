"""What was seen at a target's server: who waits for whom there, and who else is there. Small: all viewers share it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Annotated

from msgspec import Meta, Struct, field

from poolmgr.metrics.blocking import SESSIONS, Group, Session
from poolmgr.metrics.decoding import Real, Text, Whole, decode, encode
from poolmgr.metrics.phrases import joined, phrase
from poolmgr.metrics.snapshot import MAX_POOLS
from poolmgr.metrics.words import span

#: Bytes of the longest that is read.
MAX_SEEN = 256 * 1024
#: Groups of strangers that are told by name, and that a sentence names.
STRANGERS, _NAMED = 10, 3
#: Seconds after which what was seen is told with its age.
_OLD = 15.0


class Stranger(Struct, frozen=True, omit_defaults=True, gc=False):
    """Sessions that are none of the fleet's, by what they call themselves, whose they are, and whence."""

    name: Text
    user: Text
    address: Text
    number: Whole


class Seen(Struct, frozen=True, omit_defaults=True, gc=False):
    """``at`` is in seconds since the epoch, 0 where nobody has got an answer yet; ``error`` is why there was none at the last
    try, at ``tried``. ``used`` of ``most`` slots are taken, ``reserved`` are kept from us. ``ours`` counts by target,
    ``others`` are in all. ``waiting`` sessions wait for locks, of which ``sessions`` has fifty at most, ours first,
    and whoever is in their way. Of ``hidden`` sessions our role may see little. Behind a pooler no session is anybody's.
    """

    at: Real = 0.0
    tried: Real = 0.0
    error: Text = ""
    used: Whole = 0
    most: Whole = 0
    reserved: Whole = 0
    ours: Annotated[dict[Text, Whole], Meta(max_length=MAX_POOLS)] = field(default_factory=dict)
    others: Whole = 0
    strangers: Annotated[tuple[Stranger, ...], Meta(max_length=STRANGERS)] = ()
    waiting: Whole = 0
    sessions: Annotated[tuple[Session, ...], Meta(max_length=SESSIONS)] = ()
    hidden: Whole = 0
    behind_pooler: bool = False

    @property
    def free(self) -> int:
        return max(0, self.most - self.reserved - self.used)

    def to_text(self) -> str:
        """For a store; ``from_text`` reads it."""
        return encode(self).decode()

    @classmethod
    def from_text(cls, text: str) -> Seen:
        """Raises ``Unreadable``."""
        return decode(cls, text)


def counted(
    groups: Iterable[Group], ids: Collection[int], ours: Mapping[str, Collection[int]], young: Collection[int]
) -> tuple[dict[str, int], int, tuple[Stranger, ...]]:
    """Of the sessions ``ids``, how many are ours by target, how many are others', and the most of those by name.

    ``young`` are ours too, which nobody has told of yet.
    """
    there = set(ids)
    mine = {target: there.intersection(pids) for target, pids in ours.items()}
    known = set().union(young, *mine.values())
    strangers: dict[tuple[str, str, str], int] = {}
    for each in groups:
        if number := len(set(each.pids) - known):
            key = (each.name, each.user, each.address)
            strangers[key] = strangers.get(key, 0) + number
    most = sorted(strangers.items(), key=lambda pair: (-pair[1], pair[0]))[:STRANGERS]
    told = tuple(Stranger(*key, number) for key, number in most)
    return {target: len(pids) for target, pids in sorted(mine.items()) if pids}, len(there - known), told


def slots(seen: Seen, now: float) -> str:
    """Who has a server's slots, such as “9 of 9 are taken, 8 by others: 5 etl (user site)”; "" where nobody has seen it.

    ``now`` is in seconds since the epoch.
    """
    room = seen.most - seen.reserved
    is_old = now - seen.at > _OLD
    if not seen.at or room <= 0 or (is_old and seen.free):
        return ""  # it has filled up since
    taken: str = phrase("%(used)s of %(room)s are taken", used=seen.used, room=room)
    if is_old:
        taken = phrase(
            "%(used)s of %(room)s were taken %(time)s ago", used=seen.used, room=room, time=span(now - seen.at)
        )
    if seen.behind_pooler:
        return taken
    found = [taken, phrase("%(n)s by us", n=sum(seen.ours.values()))]
    if seen.strangers:
        found.append(phrase("%(n)s by others: %(names)s", n=seen.others, names=joined(", ", _named(seen.strangers))))
    return joined(", ", found)


def _named(strangers: Sequence[Stranger]) -> Iterator[str]:
    for each in strangers[:_NAMED]:
        name, user = each.name or phrase("nameless"), each.user or phrase("unknown")
        yield phrase("%(n)s %(name)s (user %(user)s)", n=each.number, name=name, user=user)
    if (more := len(strangers) - _NAMED) > 0:
        yield phrase("%(n)s programs more", n=more)
