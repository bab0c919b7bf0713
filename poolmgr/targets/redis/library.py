"""redis-py, or a sentence on how to get it: nobody needs it who has no target of this kind."""

from __future__ import annotations

try:
    import redis
except ImportError as ex:
    raise ImportError("a Redis target needs redis-py: pip install 'poolmgr[redis]'") from ex

__all__ = ["redis"]
