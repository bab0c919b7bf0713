"""A connection-pool manager for Django sites."""

from poolmgr.api import pinned, pool, released, unpooled
from poolmgr.version import __version__

__all__ = ["__version__", "pinned", "pool", "released", "unpooled"]
