"""When the details of a heartbeat are written: as they change, and now and then."""

from __future__ import annotations

from poolmgr.metrics.details import is_news
from poolmgr.metrics.snapshot import ProcessBeat

#: They are written with every third beat at the latest: a store may have lost them.
EVERY = 3


class Occasions:
    """What a store was told last of each process, which is one."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[ProcessBeat, int]] = {}

    def is_one(self, details: ProcessBeat) -> bool:
        last, beats = self._last.get(details.uid, (None, 0))
        return beats + 1 >= EVERY or is_news(details, last)

    def passed(self, details: ProcessBeat, told: bool) -> None:
        """The beat was taken, with its details where they were ``told``."""
        last, beats = self._last.get(details.uid, (details, 0))
        self._last[details.uid] = (details, 0) if told else (last, beats + 1)

    def forget(self, uid: str) -> None:
        self._last.pop(uid, None)
