"""asyncpg, or a sentence on how to get it: nobody needs it who has no target of this kind."""

from __future__ import annotations

try:
    import asyncpg
except ImportError as ex:
    raise ImportError("an asyncpg target needs asyncpg: pip install 'poolmgr[asyncpg]'") from ex

__all__ = ["asyncpg"]
