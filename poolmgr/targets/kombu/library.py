"""Celery with its kombu, or a sentence on how to get it: nobody needs it who has no target of this kind."""

from __future__ import annotations

try:
    import celery
    import kombu
except ImportError as ex:
    raise ImportError("a Celery broker as a target needs Celery: pip install 'poolmgr[celery]'") from ex

__all__ = ["celery", "kombu"]
