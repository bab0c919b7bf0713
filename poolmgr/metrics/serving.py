"""What the request threads of a process are at: a pool that has room serves nobody for whom there is no thread."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from poolmgr.metrics.decoding import Real, Text, Whole

#: Views that are told by name.
MOST_VIEWS = 5
#: Seconds without a free thread after which it is no moment of a busy site any more.
STUCK = 3.0


class Served(Struct, frozen=True, array_like=True, gc=False):
    """Requests of one view that are under way: how many, for how many seconds the oldest, and the call that it is at."""

    name: Text
    number: Whole
    seconds: Real
    call: Text = ""


class Serving(Struct, frozen=True, omit_defaults=True, gc=False):
    """Of the ``threads`` for requests so many are ``busy``; ``waiting`` requests have none yet, as far as that is known.

    ``stuck`` are the seconds since one was free, 0 while one is. Only then ``views`` are told, those of most requests first.
    """

    threads: Whole
    busy: Whole = 0
    waiting: Whole = 0
    stuck: Real = 0.0
    views: Annotated[tuple[Served, ...], Meta(max_length=MOST_VIEWS)] = ()

    @property
    def is_used_up(self) -> bool:
        return self.stuck >= STUCK
