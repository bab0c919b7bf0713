"""Which databases of a PgBouncer were asked to be paused or resumed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from threading import Lock
from typing import NamedTuple


class Hold(NamedTuple):
    """What was asked of one database, and which of the wishes for it that is. ``paused`` is None before the first."""

    number: int = 0
    paused: bool | None = None


class Holds:
    """Asked for by any thread, and read by any."""

    def __init__(self, databases: Iterable[str]) -> None:
        self._lock = Lock()
        self._all: Mapping[str, Hold] = dict.fromkeys(databases, Hold())

    def ask(self, paused: bool, databases: Iterable[str]) -> None:
        with self._lock:
            self._all = {
                **self._all,
                **{name: _next(self._all[name], paused) for name in databases if name in self._all},
            }

    def now(self) -> Mapping[str, Hold]:
        return self._all

    def kept(self) -> frozenset[str]:
        """The databases that are to be paused, and to be paused again whatever ends that."""
        return frozenset(name for name, hold in self._all.items() if hold.paused)


def _next(before: Hold, paused: bool) -> Hold:
    # A pause that holds already is no new wish; a resume always is: somebody else may have paused.
    return before if paused and before.paused else Hold(before.number + 1, paused)
