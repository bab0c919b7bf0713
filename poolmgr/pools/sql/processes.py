"""Numbers of server processes, as drivers tell them."""

from __future__ import annotations

#: No system numbers its processes higher. A pooler such as PgBouncer tells 32 bits of its own making, also negative ones.
_MOST = 1 << 22


def process_of(told: int) -> int:
    """The process at the server that a driver was told of at its connect; 0 where that can be none."""
    return told if 0 < told <= _MOST else 0
