"""What the fleet has counted, from the store that every process tells."""

from __future__ import annotations

from poolmgr.control.access import sheltered
from poolmgr.control.store import StoreDown, get_store
from poolmgr.exceptions import ConfigurationError
from poolmgr.metrics.totals import Total


def read_totals(rows: bool = True) -> tuple[Total, ...] | None:
    """None where nobody can tell now. Without ``rows`` the control database, known to be away, is not asked. Never raises."""
    try:
        store = get_store()
        if not store.pushes and not rows:
            return None
        with sheltered():
            return store.totals()
    except (StoreDown, ConfigurationError):
        return None
