"""A process of a site whose pools are all PgBouncer's has none of its own that would start the agent; a request does."""

from __future__ import annotations

from typing import Any

from django.core.signals import request_started

from poolmgr.pools import registry


def join() -> None:
    """Called when Django is ready."""
    request_started.connect(_begin, weak=False, dispatch_uid="poolmgr.pgbouncer")


def _begin(**kwargs: Any) -> None:
    # At each request: whoever forks after the first one has a child that has begun nothing.
    registry.begin()
