"""What a process hands out of each target: made for whoever asks first, and the same for all who ask later."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any, Generic, TypeVar

from django.core.signals import setting_changed

from poolmgr.pools import registry
from poolmgr.pools.forks import attend, here, on_fork

Handed = TypeVar("Handed")


class OneOfEach(Generic[Handed]):
    """One for each target, whose pool is closed when ``setting``, which names the target, is changed, as tests do."""

    def __init__(self, setting: str) -> None:
        self._setting = setting
        self._made: dict[str, Handed] = {}
        self._lock = Lock()
        setting_changed.connect(self._forget)
        on_fork(self._renew_lock)

    def get(self, target: str, make: Callable[[], Handed]) -> Handed:
        """Raises what ``make()`` does, which is called under a lock and again for the next who asks."""
        if not here:
            attend()
        with self._lock:
            if (found := self._made.get(target)) is None:
                found = self._made[target] = make()
            return found

    def _forget(self, *, setting: str, **kwargs: Any) -> None:
        if setting == self._setting:
            with self._lock:
                gone = list(self._made)
                self._made.clear()
            for target in gone:
                registry.close(target)

    def _renew_lock(self) -> None:
        # A thread that the child doesn't have may have held it.
        self._lock = Lock()
