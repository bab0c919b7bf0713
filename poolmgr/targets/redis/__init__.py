"""Redis: redis-py's connection pool with what an operator needs, and its ways into Django's caches."""
