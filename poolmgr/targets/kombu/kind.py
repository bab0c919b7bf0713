"""What kombu's pool of connections to a broker honours: its size and how long a request waits."""

from __future__ import annotations

import re
from typing import Any

from poolmgr.metrics.phrases import phrase
from poolmgr.pools.kinds import Kind
from poolmgr.pools.spec import PoolSpec

_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*[.:][A-Za-z_]\w*")


def is_path(value: Any) -> bool:
    """Whether it can name a Celery application."""
    return isinstance(value, str) and _PATH.fullmatch(value) is not None


_CONNECTS_LATE = phrase("kombu connects when a connection is first used, and keeps it")
_OUTAGE = phrase("Whoever sends a task would fail: a broker that is paused is an outage. Lower max_size instead.")
_KOMBU_S = phrase("Its connections are kombu's own, which tells nobody how to end one that somebody is sending on.")

KOMBU = Kind(
    name="kombu",
    label=phrase("Celery broker"),
    package="poolmgr.targets.kombu",
    unit=phrase("broker connections"),
    libraries={"celery": "celery"},
    joins=True,
    refuses={
        "pool_mode": phrase("A connection to a broker goes back when the message is sent."),
        "min_size": phrase("%(late)s; none is opened ahead.", late=_CONNECTS_LATE),
        "budget": phrase("Whoever sends a task must not wait for a lease; max_size bounds each process."),
        "max_waiting": phrase("kombu's pool does not bound who waits; connection_timeout bounds how long."),
        "idle_timeout": phrase("%(late)s; recycle the pool to close what is idle.", late=_CONNECTS_LATE),
        "max_lifetime": phrase("%(late)s; recycle the pool to replace it.", late=_CONNECTS_LATE),
        "reconnect_timeout": phrase(
            "kombu connects in the hands of whoever sends, by Celery's task_publish_retry_policy."
        ),
        "validation": phrase("kombu doesn't look before it hands out; who finds a connection broken connects again."),
        "validation_query": phrase("A broker is asked nothing; a health check connects."),
        "validate_after_idle": phrase("kombu doesn't look before it hands out."),
        "keepalive_interval": phrase(
            "kombu sends nothing on idle connections; Celery's broker_heartbeat is for a worker's own."
        ),
    },
    denies={
        "pause": _OUTAGE,
        "resume": phrase("It is never paused. %(why)s", why=_OUTAGE),
        "cancel": _KOMBU_S,
        "end": _KOMBU_S,
    },
    helps={
        "max_size": phrase(
            "The most connections of each process to the broker, Celery's broker_pool_limit. Default 10. Raise it when"
            " whoever sends tasks waits; they are served at once. Lowering closes idle connections now and used ones as"
            " they return. Live."
        ),
        "connection_timeout": phrase(
            "Seconds that whoever sends a task waits for a connection of the pool, Celery's broker_pool_acquire_timeout,"
            " before it fails with “pool exhausted”. Default 30. Live."
        ),
        "health_check_interval": phrase(
            "Seconds between connects to the broker that a health check makes. Default 30. Live."
        ),
    },
    defaults=PoolSpec(min_size=0, validation="off"),
    declares={"APP": (is_path, "the dotted path of a Celery application, such as 'shop.celery.app'")},
)
