"""asyncpg: pools for event loops, with what pgvector needs."""
