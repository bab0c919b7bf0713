"""How things stand when somebody edits a profile: all that is asked to foresee what the edit would lead to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from django.utils.formats import number_format

from poolmgr.conf import ROLES
from poolmgr.metrics.snapshot import PoolSnapshot
from poolmgr.pools.kinds import Kind
from poolmgr.pools.spec import PoolSpec, plainly


@dataclass(frozen=True, slots=True)
class Member:
    """The pool of one process, which is ``age`` seconds old; ``place`` is its host:pid."""

    role: str
    place: str
    age: float
    pool: PoolSnapshot


@dataclass(frozen=True, slots=True)
class Room:
    """Connections at a server: of ``most``, ``reserved`` are kept from us, and ``others`` are taken by whom the edit is not
    about. Where that is not known, ``unknown`` is a sentence that says why.
    """

    most: int = 0
    reserved: int = 0
    others: int = 0
    unknown: str = ""

    @property
    def left(self) -> int:
        """What the target's pools may have at most."""
        return max(0, self.most - self.reserved - self.others)


@dataclass(frozen=True, slots=True)
class Tried:
    """What the server says to a new validation query: a sentence where it is ``refused``, or why that is ``unknown``."""

    query: str
    refused: str = ""
    unknown: str = ""


@dataclass(frozen=True, slots=True)
class Outlook:
    """The settings that rule each role ``before`` and ``after`` an edit, and the pools that live.

    ``unread`` is a sentence where not all pools are known. ``tried`` is None where no query has to be tried. ``transacts``
    tells what of the site's settings begins transactions at the target, where that can be told (``is_database``).
    """

    target: str
    kind: Kind
    before: Mapping[str, PoolSpec]
    after: Mapping[str, PoolSpec]
    members: tuple[Member, ...] = ()
    room: Room = Room()
    tried: Tried | None = None
    unread: str = ""
    is_database: bool = False
    transacts: tuple[str, ...] = ()

    @property
    def concerned(self) -> tuple[str, ...]:
        """The roles for which the edit changes anything."""
        return tuple(role for role in ROLES if self.before[role] != self.after[role])

    def of(self, role: str) -> tuple[Member, ...]:
        return tuple(member for member in self.members if member.role == role)

    def changing(self, *names: str) -> Iterator[tuple[str, PoolSpec, PoolSpec, tuple[Member, ...]]]:
        """Each role with pools for which any of the settings ``names`` changes: before, after, and its pools."""
        for role in self.concerned:
            before, after = self.before[role], self.after[role]
            if (members := self.of(role)) and any(getattr(before, each) != getattr(after, each) for each in names):
                yield role, before, after, members


def number(value: int) -> str:
    """In the reader's locale, such as 1,234."""
    return number_format(value, force_grouping=True)


def seconds(value: float) -> str:
    return f"{plainly(value)} s"
