"""Celery's connections to its broker, of which kombu keeps one set for the whole process."""

import kombu.pools
from celery import _state


def close_broker_pools() -> None:
    """Close them all, and have each application of this process make its own anew.

    kombu's own leaves the site's application with a closed pool, so that no later test of the process sends a task.
    """
    kombu.pools.reset()
    for app in _state._get_active_apps():
        app._after_fork()
