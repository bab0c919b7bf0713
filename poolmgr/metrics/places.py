"""Where the connections of a target are, and where none is left: room in one process is none for the requests of another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

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
    total = f"{used} of {capacity} connections in use"
    pools = sum(len(role.places) for role in roles)
    if pools < 2 or not any(role.full for role in roles):
        return total
    return "; ".join(_told(role) for role in roles if role.full)


def _told(role: RoleView) -> str:
    full = role.full
    who = who_is_full(role)
    sizes = sorted({place.capacity for place in full})
    size = f"{sizes[0]} of {sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]} connections"
    each = " each" if len(full) > 1 and len(sizes) == 1 else ""
    named = f": {', '.join(_names(full))}" if len(full) < len(role.places) else ""
    return f"{who} {'is' if len(full) == 1 else 'are'} full ({size}{each}{named})"


def who_is_full(role: RoleView) -> str:
    """Such as "2 of 3 web processes"."""
    full, places = len(role.full), len(role.places)
    if full < places:
        return f"{full} of {places} {role.role} processes"
    if full == 1:
        return f"the {role.role} process"
    return f"both {role.role} processes" if full == 2 else f"all {full} {role.role} processes"


def _names(full: Sequence[Place]) -> Iterator[str]:
    ordered = sorted(full, key=lambda place: (-place.pending, place.name))
    yield from (place.name for place in ordered[:_NAMED])
    if len(full) > _NAMED:
        yield f"and {len(full) - _NAMED} more"
