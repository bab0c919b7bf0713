"""The embedded servers: what the demo, the tests and the benchmarks start."""

from .postgres import EmbeddedPostgres
from .processes import ProcessError
from .redis import EmbeddedRedis

__all__ = ["EmbeddedPostgres", "EmbeddedRedis", "ProcessError"]
