"""Making a connection that is new, or cleaned, as the site wants it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from poolmgr.targets.postgresql.preparing import preparing
from poolmgr.targets.postgresql.state import PoolState


def configure(state: PoolState, conn: Any) -> None:
    """Call the hooks that a new or a cleaned connection needs; what they raise gets out."""
    if state.configure is not None:
        prepare(state, conn, state.configure)


def prepare(state: PoolState, conn: Any, hook: Callable[[Any], object]) -> None:
    """Call what prepares ``conn``; housekeeping breaks it off where it takes too long."""
    with preparing(state.target, conn) as preparation:
        with state._lock:
            state.preparations.add(preparation)
        try:
            hook(conn)
        finally:
            with state._lock:
                state.preparations.discard(preparation)
