"""A server that can't be reached, told as people would: a line when it begins, a count now and then, a line at its end."""

from __future__ import annotations

from poolmgr.exceptions import CheckoutError
from poolmgr.pools.diagnosis import Diagnosis

#: Seconds between two lines while it lasts.
REMINDER = 60.0
#: Seconds without a failure after which it is over.
QUIET = 2.0


class Outage:
    """What connects came to. Guarded by the pool's lock."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._began = self._told = self._failed = self._works = 0.0
        self._tries = 0
        self._told_of: set[type[CheckoutError]] = set()

    def failed(self, found: Diagnosis, now: float) -> str:
        """A line for the log, or an empty string; ``now`` is on the monotonic clock.

        A server that restarts fails us in several ways, of which one is told; that it refuses us is another matter.
        """
        if not self._tries:
            self._began = now
        self._tries += 1
        self._failed = now
        if found.cls in self._told_of and now - self._told < REMINDER:
            return ""
        first, self._told = not self._told_of, now
        self._told_of.add(found.cls)
        if first:
            return f"no connection to {self._address}: {found.sentence}; it is tried again as long as one is wanted"
        since = f"after {now - self._began:.1f} s and {self._tries} tries"
        return f"still no connection to {self._address} {since}: {found.sentence}"

    def succeeded(self, now: float, began: float) -> None:
        """Of a connect that began at ``began``: one that was under way before tells nothing of an outage."""
        if began >= self._began:
            self._works = now

    def over(self, now: float) -> str:
        """As ``failed()``, once connects have worked for a while: one that succeeds among others that fail is no end."""
        if not self._tries or self._works < self._failed or now - self._failed < QUIET:
            return ""
        tries, self._tries = self._tries, 0
        self._told_of.clear()
        return f"connections to {self._address} again, after {self._works - self._began:.1f} s and {tries} failed tries"
