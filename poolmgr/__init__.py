"""A connection-pool manager for Django sites."""

from poolmgr.api import pinned, pool, released, unpooled

__all__ = ["__version__", "pinned", "pool", "released", "unpooled"]
__version__ = "0.1.0"
