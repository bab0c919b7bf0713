"""Celery's connections to its broker: kombu's pool, shown and resized."""
