"""The figures that a verdict looks at, of one pool or of all pools of a target."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

from poolmgr.metrics.blocking import Blocked
from poolmgr.metrics.histogram import Distribution
from poolmgr.metrics.phrases import phrase
from poolmgr.metrics.places import Place, RoleView
from poolmgr.metrics.snapshot import PoolSnapshot


@dataclass(frozen=True, slots=True)
class Pause:
    """``seconds`` since checkouts were stopped, by ``author`` where that is known, and how many got nothing since."""

    seconds: float
    author: str = ""
    timeouts: int = 0


@dataclass(frozen=True, slots=True)
class Figures:
    """What a verdict looks at: the pools of a target, or one of them. Times in seconds.

    ``timeouts`` and ``refused`` (transactions, by pools whose mode still refuses them) are of the last minute;
    ``last_timeout`` is how long ago the last one was. Under a budget, ``held`` are connections, those included that open or
    close, and ``floors`` the processes that share it, and what each may hold whatever it is. ``blocked_where_full`` says that
    somebody waits, or just failed to get one, for connections of a process whose holders are ``blocked``. ``slots`` says who
    has those of the server at ``address``, "" where nobody knows.
    """

    roles: tuple[RoleView, ...]
    connection_timeout: float
    wait: Distribution = Distribution()
    timeouts: int = 0
    last_timeout: float = inf
    paused: int = 0
    pause: Pause | None = None
    closed: int = 0
    last_error: str = ""
    behind: int = 0
    refused: int = 0
    problems: tuple[str, ...] = ()
    budget: int = 0
    held: int = 0
    floors: tuple[int, int] = (0, 0)
    blocked: Blocked | None = None
    blocked_where_full: bool = False
    address: str = ""
    slots: str = ""

    @property
    def pools(self) -> int:
        return sum(len(role.places) for role in self.roles)

    @property
    def used(self) -> int:
        return sum(role.used for role in self.roles)

    @property
    def idle(self) -> int:
        return sum(role.idle for role in self.roles)

    @property
    def opening(self) -> int:
        return sum(role.opening for role in self.roles)

    @property
    def pending(self) -> int:
        return sum(role.pending for role in self.roles)

    @property
    def capacity(self) -> int:
        return sum(role.capacity for role in self.roles)

    @property
    def in_all(self) -> str:
        return phrase("%(used)s of %(capacity)s connections in use", used=self.used, capacity=self.capacity)

    @property
    def oldest_wait(self) -> float:
        return max((place.oldest_wait for role in self.roles for place in role.places), default=0.0)


def place_of(role: str, name: str, pool: PoolSnapshot) -> Place:
    return Place(
        role,
        name,
        used=pool.used,
        idle=pool.idle,
        opening=pool.opening,
        pending=pool.pending,
        capacity=pool.limit or pool.max_size,
        oldest_wait=pool.oldest_wait,
    )


def pause_of(pools: Iterable[PoolSnapshot], author: str, now: float) -> Pause | None:
    """Since when any of ``pools`` is paused, and who got nothing meanwhile; None where none is, or none tells."""
    paused = [pool for pool in pools if pool.status == "paused" and pool.paused_at]
    if not paused:
        return None
    began = min(pool.paused_at for pool in paused)
    return Pause(since(began, now), author, sum(pool.timeouts_paused for pool in paused))


def since(moment: float, now: float) -> float:
    """Seconds from ``moment`` to ``now``, both since the epoch; infinite for 0, which is never."""
    return max(0.0, now - moment) if moment else inf


def still_refused(pool: PoolSnapshot) -> int:
    """Transactions that statement mode refused in the last minute; 0 once the pool has another mode: that is over."""
    return pool.recent_refused if pool.pool_mode == "statement" else 0
