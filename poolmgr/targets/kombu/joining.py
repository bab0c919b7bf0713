"""A process's pool of a broker is managed from the first task on that the process sends."""

from __future__ import annotations

import logging
from typing import Any

from celery.signals import before_task_publish

from poolmgr.exceptions import ConfigurationError
from poolmgr.targets.kombu import finding, handing

logger = logging.getLogger("poolmgr.pool")

#: What could not be managed, so that it is told once.
_failed: dict[str, str] = {}


def join() -> None:
    """Called when Django is ready."""
    before_task_publish.connect(_attend, weak=False, dispatch_uid="poolmgr.broker")


def _attend(**kwargs: Any) -> None:
    # Whatever is wrong, the message must go out.
    for target in finding.targets():
        try:
            handing.pool(target)
        except ConfigurationError as ex:
            if _failed.get(target) != str(ex):
                _failed[target] = str(ex)
                logger.error("the pool of %r is not managed: %s", target, ex)  # noqa: TRY400 - the sentence is enough
        except Exception:
            logger.exception("the pool of %r is not managed", target)
