"""Processes that died without a word: silent at one look and gone at the next, or swept from the store meanwhile."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from poolmgr.control.reporting.fleet import Fleet
from poolmgr.metrics.episodes import Sighting
from poolmgr.metrics.phrases import phrase

#: Dead processes that a sentence names.
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Death:
    """``who`` is its role, host and pid; ``heard`` is when its last heartbeat came, in seconds since the epoch."""

    who: str
    heard: float = 0.0


class Deaths:
    """Whoever is missing may have gone to the other store: it is told when somebody has looked there too."""

    def __init__(self) -> None:
        self._silent: dict[str, Death] = {}
        self._missing: dict[str, Death] = {}
        self._dead: dict[str, Death] = {}

    @property
    def somebody_is_missing(self) -> bool:
        return bool(self._missing)

    def look(self, fleet: Fleet, uids: Collection[str]) -> None:
        """Compare with the last look; ``uids`` are all that beat."""
        self._missing |= {uid: death for uid, death in self._silent.items() if uid not in uids}
        silent = {uid for trouble in fleet.troubles if trouble.code == "silent" for uid in trouble.uids}
        self._silent = {
            beat.uid: Death(f"{beat.role} {beat.host}:{beat.pid}", beat.at)
            for beat in fleet.processes
            if beat.uid in silent
        }

    def swept(self, uids: Collection[str]) -> None:
        for uid in uids:
            self._missing.setdefault(uid, self._silent.get(uid) or _unheard(uid))

    def confirm(self, live: Collection[str]) -> None:
        """``live`` are those of both stores."""
        self._dead |= {uid: death for uid, death in self._missing.items() if uid not in live}
        self._missing = {}

    def told(self) -> Iterator[Sighting]:
        """Once."""
        dead, self._dead = [*self._dead.values()], {}
        if dead:
            yield _sighting(dead)


def _unheard(uid: str) -> Death:
    """As much as its name says."""
    host, pid, *_ = (*uid.rsplit("-", 2), "", "")
    return Death(f"process {host}:{pid}" if pid.isdecimal() else f"process {uid}")


def _sighting(dead: list[Death]) -> Sighting:
    who = ", ".join(death.who for death in dead[:_NAMED])
    if (more := len(dead) - _NAMED) > 0:
        who = phrase("%(names)s and %(n)s more", names=who, n=more)
    said = phrase("%(who)s ended without a word: killed, or out of memory. What it had under way has failed.", who=who)
    return Sighting(
        "",
        "gone",
        "critical",
        said,
        since=min((death.heard for death in dead if death.heard), default=0.0),
        worst={"processes": len(dead)},
        where=who,
        over=True,
    )
