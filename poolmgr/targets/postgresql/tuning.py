"""What a profile's settings do to a pool, when it begins and while it runs."""

from __future__ import annotations

from poolmgr.pools.desired import Desired
from poolmgr.pools.plan import Action, Plan, plan
from poolmgr.pools.spec import PoolSpec
from poolmgr.targets.postgresql import sizing, validation
from poolmgr.targets.postgresql.state import PoolState

_FOREVER = 10 * 365 * 86_400.0


def follow(state: PoolState, desired: Desired) -> Plan:
    """Follow new settings in place; no connection is replaced and nobody fails."""
    with state._lock:
        made = plan(state.spec, desired.spec)
        state.desired, state.spec = desired, desired.spec
        tune(state, desired.spec)
        if "max_lifetime" in made.changes:
            _set_expiries(state)
    if made.action is Action.RESIZE:
        sizing.resize(state)
    return made


def tune(state: PoolState, spec: PoolSpec) -> None:
    """All but the sizes."""
    pool = state.pool
    pool.timeout = spec.connection_timeout
    pool.max_waiting = spec.max_waiting
    pool.reconnect_timeout = spec.reconnect_timeout
    # psycopg_pool's own slow shrinking stays out of the way of ours.
    pool.max_idle = _FOREVER
    pool.max_lifetime = spec.max_lifetime or _FOREVER
    state.trusted = validation.trusted(spec, state.fault)


def _set_expiries(state: PoolState) -> None:
    """A new max_lifetime is of the connections that there are too, each from when it was opened."""
    for conn in (*state.pool._pool, *state.out):
        lifetime = state.pool._jitter(state.pool.max_lifetime, -0.05, 0.0)
        conn._expire_at = conn.entry.expires = conn._created_at + lifetime
