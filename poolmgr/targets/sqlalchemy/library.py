"""SQLAlchemy, or a sentence on how to get it: nobody needs it who has no target of this kind."""

from __future__ import annotations

try:
    import sqlalchemy
except ImportError as ex:
    raise ImportError("a SQLAlchemy target needs SQLAlchemy: pip install 'poolmgr[sqlalchemy]'") from ex

__all__ = ["sqlalchemy"]
