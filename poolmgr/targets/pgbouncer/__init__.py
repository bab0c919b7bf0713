"""PgBouncer: its pools are its own, and one process of the fleet manages them through its console."""
