"""What whoever leads sees of the pools between two samples: the most of it is the sample's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from poolmgr.control.reporting.fleet import Fleet

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Most:
    """The most at any of the looks of an interval."""

    used: int = 0
    pending: int = 0
    full: int = 0

    def __or__(self, other: Most) -> Most:
        return Most(max(self.used, other.used), max(self.pending, other.pending), max(self.full, other.full))


class Moments:
    """By interval, target and role. Only the interval that goes on and the one before it are remembered."""

    def __init__(self) -> None:
        self._seen: dict[int, dict[Key, Most]] = {}

    def see(self, fleet: Fleet, interval: int) -> None:
        """A look in the interval of this number."""
        self._seen = {number: seen for number, seen in self._seen.items() if number >= interval - 1}
        seen = self._seen.setdefault(interval, {})
        for view in fleet.targets:
            for role in view.roles:
                key = view.target, role.role
                seen[key] = seen.get(key, Most()) | Most(role.used, role.pending, len(role.full))

    def of(self, interval: int) -> Mapping[Key, Most]:
        return self._seen.get(interval, MappingProxyType({}))
