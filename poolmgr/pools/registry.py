"""All pools of this process.

The law of the lock: ``_state`` is read and written only with ``_lock`` held, and a pool is made, opened or closed
outside it. Making a pool costs nothing and starts nothing, so of two made at once the second is dropped.
"""

from __future__ import annotations

import atexit
import logging
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from weakref import WeakSet

from poolmgr.pools.allowance import NOTHING, Allowance
from poolmgr.pools.desired import Desired
from poolmgr.pools.diagnosis import Diagnosis
from poolmgr.pools.forks import attend, here, on_fork
from poolmgr.pools.plan import Action, Plan
from poolmgr.pools.port import Pool
from poolmgr.pools.spec import PoolSpec

logger = logging.getLogger("poolmgr.pool")


@dataclass
class _State:
    pools: dict[str, Pool] = field(default_factory=dict)
    retired: dict[str, Pool] = field(default_factory=dict)  # the last one closed, where no other was made since
    desired: Mapping[str, Desired] = field(default_factory=dict)
    limits: Mapping[str, Allowance] = field(default_factory=dict)
    waiting: bool = False
    leased: bool = False
    started: bool = False
    abstains: bool = False


_lock = threading.Lock()
_state = _State()
_on_start: list[Callable[[], None]] = []
_on_quiesce: list[Callable[[str], None]] = []
#: Every pool of this process, also those that the registry doesn't know.
_born: WeakSet[Pool] = WeakSet()
#: Pools that a forked child inherited: kept for ever, since to collect one may wait for its threads, which stayed behind.
_inherited: list[Pool] = []


def _held() -> threading.Lock:
    """The lock, which is to be taken, in a process that has nothing of its parent's."""
    if not here:
        attend()
    return _lock


def pools() -> tuple[Pool, ...]:
    """Every open pool, sorted by target."""
    with _held():
        return tuple(_state.pools[target] for target in sorted(_state.pools))


def holders() -> tuple[Pool, ...]:
    """For each target the pool that counts all that this process holds of it: the open one, or a closed one that is not
    empty yet."""
    with _held():
        found = _state.retired | _state.pools
    for target, pool in found.items():
        if pool.retired and not pool.load().held:
            with _held():
                if _state.retired.get(target) is pool:
                    del _state.retired[target]
    return tuple(pool for _, pool in sorted(found.items()) if not pool.retired or pool.load().held)


def get(target: str) -> Pool | None:
    with _held():
        return _state.pools.get(target)


def abstain() -> None:
    """Have this process never make a pool: every connection is a direct one. For the console that stands apart."""
    with _held():
        _state.abstains = True


def abstains() -> bool:
    with _held():
        return _state.abstains


def born(pool: Pool) -> None:
    """Told of each pool when it is made, so that a forked child parts with all of them."""
    _born.add(pool)


def get_or_make(target: str, make: Callable[[], Pool]) -> Pool:
    """The open pool of ``target``; ``make`` is called when there is none."""
    if (pool := get(target)) and pool.opened:
        return pool
    made = make()
    with _held():
        pool = _state.pools.setdefault(target, made)
        if pool is made:
            wanted = _state.desired.get(target)
            # Here, where nothing newer can come between.
            pool.begin(wanted, _allowance(target, (wanted or pool.desired).spec), _state.retired.pop(target, None))
    if pool is made and wanted is not None:
        logger.info("pool %r begins with %s revision %s", target, wanted.profile, wanted.revision)
    # Whoever finds a pool that another thread has just made must not find it closed still.
    if not pool.retired:
        pool.open()
    begin()
    return pool


def begin() -> None:
    """Have what starts with a process's first pool start now, once; also where its pools are all a server's own."""
    with _held():
        first, _state.started = not _state.started, True
    if first:
        for callback in _on_start:
            callback()


def set_desired(desired: Mapping[str, Desired]) -> dict[str, Plan]:
    """Replace the desired state; targets that it doesn't name follow their bootstrap settings."""
    with _held():
        _state.desired = dict(desired)
        present = _state.retired | _state.pools
    return {target: _apply(pool, desired.get(target) or Desired(pool.bootstrap)) for target, pool in present.items()}


def _apply(pool: Pool, desired: Desired) -> Plan:
    made = pool.apply(desired)
    if made.action is not Action.KEEP:
        logger.info("pool %r follows %s revision %s: %s", pool.target, desired.profile, desired.revision, made.reason)
    return made


def hold_back() -> None:
    """Have every pool wait, with no connection, for the first word on what this process may hold.

    Others may have a share in what it would take, which only the profiles tell.
    """
    with _held():
        _state.waiting = True


def set_limits(
    limits: Mapping[str, Allowance], *, waiting: Collection[str] = (), failure: Diagnosis | None = None
) -> None:
    """Limit the pools by this process's leases; from now on a pool with a budget and without a lease may hold nothing.

    Targets in ``waiting`` wait for word still, which ``failure`` keeps from coming.
    """
    still = Allowance(0, failure=failure)
    with _held():
        _state.limits = {**dict.fromkeys(waiting, still), **limits}
        _state.leased, _state.waiting = True, False
        found = _state.retired | _state.pools
        allowed = {pool: _allowance(target, pool.spec) for target, pool in found.items()}
    for pool, allowance in allowed.items():
        pool.limit(allowance)


def lift_limits() -> None:
    """No pool is limited by a budget: nobody in this process asks for leases."""
    with _held():
        _state.limits = {}
        _state.leased = _state.waiting = False
        present = tuple((_state.retired | _state.pools).values())
    for pool in present:
        pool.limit(None)


def somebody_waits() -> bool:
    """Whether any request waits for a connection."""
    return any(pool.load().pending for pool in pools())


def _allowance(target: str, spec: PoolSpec) -> Allowance | None:
    if (known := _state.limits.get(target)) is not None:
        return known
    return NOTHING if _state.waiting or (_state.leased and spec.budget) else None


def close(target: str, timeout: float = 5.0) -> None:
    """Close the pool of ``target``, if there is one; the next checkout makes a new one."""
    with _held():
        pool = _state.pools.pop(target, None)
        if pool is not None:
            _state.retired[target] = pool
    if pool is not None:
        pool.close(timeout)


def close_all(timeout: float = 5.0) -> None:
    """Close every pool."""
    for pool in pools():
        close(pool.target, timeout)


def quiesce(target: str) -> None:
    """Let go of every connection to ``target``, such as before its database is dropped."""
    for callback in _on_quiesce:
        callback(target)
    close(target)


def on_start(callback: Callable[[], None]) -> None:
    """Call ``callback`` in each process, a forked child too, when its first pool opens."""
    _on_start.append(callback)


def on_quiesce(callback: Callable[[str], None]) -> None:
    """Call ``callback`` with a target whose connections must all go."""
    _on_quiesce.append(callback)


def _after_fork() -> None:
    global _lock, _state
    # The lock may have been held by a thread that the child doesn't have.
    _lock = threading.Lock()
    _inherited.extend(_born)
    for pool in _inherited:
        pool.disown()
    _state = _State(desired=_state.desired, abstains=_state.abstains)


on_fork(_after_fork)
atexit.register(close_all, timeout=1.0)
