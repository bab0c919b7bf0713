"""Where the connections of a target are, and where none is left: room in one process is none for the requests of another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from poolmgr.metrics.phrases import counted, joined, phrase

#: Full processes that a sentence names; more are counted.
_NAMED = 2


@dataclass(frozen=True, slots=True)
class Place:
    """One process's pool: ``name`` is host:pid; ``oldest_wait`` is how long the first in its queue has waited, in seconds."""

    role: str
    name: str
    used: int
    idle: int
    opening: int
    pending: int
    capacity: int
    oldest_wait: float = 0.0

    @property
    def is_full(self) -> bool:
        """Whether whoever asks now has to wait until somebody gives a connection back."""
        return self.used >= self.capacity > 0


@dataclass(frozen=True, slots=True)
class RoleView:
    """All pools of one role: sums, and the ``full`` ones of its ``places``."""

    role: str
    used: int
    idle: int
    opening: int
    pending: int
    capacity: int
    places: tuple[Place, ...]
    full: tuple[Place, ...]

    @property
    def rank(self) -> tuple[bool, int, float]:
        """Who waits first, then who has least room; the greatest is the worst."""
        return self.pending > 0, self.pending if self.full else 0, self.used / self.capacity if self.capacity else 0.0


def by_role(places: Iterable[Place]) -> tuple[RoleView, ...]:
    """The worst role first; of equals by name."""
    found: dict[str, list[Place]] = {}
    for place in sorted(places, key=lambda place: (place.role, place.name)):
        found.setdefault(place.role, []).append(place)
    views = [_view(role, tuple(there)) for role, there in found.items()]
    return tuple(sorted(views, key=lambda view: view.rank, reverse=True))


def _view(role: str, places: tuple[Place, ...]) -> RoleView:
    return RoleView(
        role,
        used=sum(place.used for place in places),
        idle=sum(place.idle for place in places),
        opening=sum(place.opening for place in places),
        pending=sum(place.pending for place in places),
        capacity=sum(place.capacity for place in places),
        places=places,
        full=tuple(place for place in places if place.is_full),
    )


def in_use(roles: Sequence[RoleView]) -> str:
    """How much is in use, without a full stop: where pools are full, which ones; otherwise of all that may be open."""
    used, capacity = sum(role.used for role in roles), sum(role.capacity for role in roles)
    total = phrase("%(used)s of %(capacity)s connections in use", used=used, capacity=capacity)
    pools = sum(len(role.places) for role in roles)
    if pools < 2 or not any(role.full for role in roles):
        return total
    return joined("; ", (_told(role) for role in roles if role.full))


def _told(role: RoleView) -> str:
    full = role.full
    detail = _size(full)
    if len(full) < len(role.places):
        detail = phrase("%(size)s: %(names)s", size=detail, names=_names(full))
    return counted(
        len(full),
        "%(who)s is full (%(detail)s)",
        "%(who)s are full (%(detail)s)",
        who=who_is_full(role),
        detail=detail,
    )


def _size(full: Sequence[Place]) -> str:
    sizes = sorted({place.capacity for place in full})
    if len(sizes) > 1:
        return phrase("%(low)s to %(high)s connections", low=sizes[0], high=sizes[-1])
    return counted(len(full), "%(size)s of %(size)s", "%(size)s of %(size)s each", size=sizes[0])


def who_is_full(role: RoleView) -> str:
    """Such as "2 of 3 web processes"."""
    full, places = len(role.full), len(role.places)
    if full < places:
        return phrase("%(full)s of %(places)s %(role)s processes", full=full, places=places, role=role.role)
    if full == 1:
        return phrase("the %(role)s process", role=role.role)
    if full == 2:
        return phrase("both %(role)s processes", role=role.role)
    return phrase("all %(full)s %(role)s processes", full=full, role=role.role)


def _names(full: Sequence[Place]) -> str:
    ordered = sorted(full, key=lambda place: (-place.pending, place.name))
    named = ", ".join(place.name for place in ordered[:_NAMED])
    if len(full) <= _NAMED:
        return named
    return phrase("%(names)s, and %(n)s more", names=named, n=len(full) - _NAMED)
