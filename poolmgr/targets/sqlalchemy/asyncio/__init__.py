"""SQLAlchemy's asyncio engines: its sync code runs in greenlets of tasks, and awaits where a thread would wait."""
