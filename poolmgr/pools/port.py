"""The port: what registry, agent, fleet and pages know of a pool of any kind, and nothing else."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from poolmgr.metrics.snapshot import PoolSnapshot
from poolmgr.pools.allowance import Allowance
from poolmgr.pools.checkouts import Checkout
from poolmgr.pools.desired import Desired
from poolmgr.pools.plan import Plan
from poolmgr.pools.spec import PoolSpec


class Load(NamedTuple):
    """Connections that a pool has, those that open or close included; those in use; and requests that wait."""

    held: int
    used: int
    pending: int


@dataclass(frozen=True, slots=True)
class Recycled:
    """What a recycle did: connections replaced, old ones still in use, and why it stopped early, if it did."""

    replaced: int
    remaining: int
    failed: str = ""


class Pool(Protocol):
    """One process's pool to one target.

    Its law: nothing but ``recycle()`` and ``close()`` blocks. All else returns within milliseconds, in whatever thread, and
    waits for no event loop and no server. Checkout and return are not here: they go by each library's own words.

    ``kind`` is the name of its kind, ``address`` where it connects to, for people. ``bootstrap`` are the settings without a
    profile, ``desired`` those that it follows with where they come from, ``spec`` the same settings alone. ``opened`` says
    that ``open()`` has been called; a pool that is ``retired`` is closed and never opens again. ``problem`` is a sentence
    on what keeps it from doing as its settings say, or empty.
    """

    kind: str
    target: str
    bootstrap: PoolSpec
    desired: Desired
    opened: bool
    retired: bool

    @property
    def spec(self) -> PoolSpec: ...

    @property
    def problem(self) -> str: ...

    @property
    def address(self) -> str: ...

    @property
    def paused(self) -> bool: ...

    @property
    def is_limited(self) -> bool:
        """Whether a budget, and not only the settings, says how much it may hold."""

    def begin(self, desired: Desired | None, allowance: Allowance | None, predecessor: Pool | None) -> None:
        """Before it opens, and before anybody knows of it: its settings, its limit and the closed pool that it comes after.

        What the predecessor has out still counts with what this one may hold.
        """

    def open(self) -> None:
        """Start what it does by itself, and its first connects. Idempotent."""

    def retire(self) -> None:
        """Connect no more, close what is idle now and what is used as it returns; whoever waits is told. Idempotent."""

    def close(self, timeout: float = 5.0) -> None:
        """Retire, and wait up to ``timeout`` seconds for what is idle to be gone."""

    def disown(self) -> None:
        """In a forked child: be a closed pool, whose connections are the parent's and out of reach."""

    def apply(self, desired: Desired) -> Plan:
        """Follow new settings in place; no connection is replaced and nobody fails."""

    def limit(self, allowance: Allowance | None) -> None:
        """Hold at most what is allowed, whatever the settings say; None lifts the limit."""

    def load(self) -> Load:
        """What it holds and what is asked of it, at little cost; what its predecessor has out still is included."""

    def pause(self) -> None:
        """Stop checkouts; requests wait up to their own timeout."""

    def resume(self) -> None:
        """Allow checkouts again."""

    def recycle(self, timeout: float = 30.0) -> Recycled:
        """Replace every connection by a fresh one, for up to ``timeout`` seconds; used ones as they return."""

    def snapshot(self) -> PoolSnapshot:
        """What it looks like now."""

    def find_checkout(self, name: str) -> Checkout | None:
        """The checkout that a holder of its snapshot names, if it is under way."""


class Led(Pool, Protocol):
    """What manages pools that are a server's own, in the one process of the fleet that leads.

    It keeps the law of the port: what it is asked it notes, and has the server do it in threads of its own. ``desired`` is
    what it was asked, and its snapshot tells what the server was seen to have. ``database`` is the one that is meant, "" all.
    """

    def lead(self, until: float) -> None:
        """Act until then, on the monotonic clock; nothing is done before the first call."""

    def keeps_paused(self, database: str = "") -> bool:
        """Whether it was told to pause any of it, and pauses again whatever ends that."""

    def pause(self, database: str = "") -> None: ...

    def resume(self, database: str = "") -> None: ...

    def recycle(self, timeout: float = 30.0, database: str = "") -> Recycled: ...

    def settle(self, timeout: float, database: str = "") -> str:
        """Wait until the last pause or resume is so; "" or a sentence on what keeps it from that. Blocks."""

    def cut_off(self, command: str, database: str = "") -> str:
        """Kill, disable or enable what it manages, now and once; "" or a sentence on what kept it from that. Blocks."""

    def let_in(self, database: str, but: Collection[str]) -> str:
        """Enable what is disabled, but for some, where a kill came to no end; told as above. Blocks."""


class Peers(Protocol):
    """What a member of a group says to the group, and asks of it; never with a lock of its own held, but for ``stir()``."""

    def stir(self) -> None:
        """Somebody begins to wait here, or something is gone: see whether room should move between members."""

    def leave(self, key: Hashable) -> None:
        """The member by this key ends. Takes no lock."""

    def pending_beside(self, member: object) -> int:
        """How many requests wait at the others."""

    def figures(self) -> str:
        """What all hold together, for the words of an error."""


class Member(Pool, Protocol):
    """A pool that may be one of several of its target; ``peers`` is None while it is alone."""

    peers: Peers | None
