"""When a process looks at what has changed: all hear of it at once, and each connects to look."""

from __future__ import annotations

from random import uniform

#: Seconds for each process of the fleet, since so long a look takes a server of few processors, and at most: a change is in
#: force within a second.
_EACH, _MOST = 0.012, 0.3


def pause(fleet: int) -> float:
    """Seconds, at random, that one of so many processes waits first."""
    return uniform(0.0, min(_MOST, _EACH * fleet))
