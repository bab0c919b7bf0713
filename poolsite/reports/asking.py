"""Having a worker count, and looking for what it counted: the result lies in Celery's result backend."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from celery import states
from celery.result import AsyncResult
from django.conf import settings
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from .tasks import count_words

#: Seconds after which nobody waits any more: a worker that takes it later leaves it.
PATIENCE = 30


class Unavailable(Exception):
    """Broker or result backend can't be reached."""


@dataclass(frozen=True, slots=True)
class Counting:
    """``found`` is what ``count_words()`` gives, when the ``state`` is done. Others are pending and failed, and what a page
    makes of ``Unavailable``: unasked, unknown.
    """

    state: str
    found: dict[str, Any] = field(default_factory=dict)


def order() -> str:
    """The task's number. Raises ``Unavailable``."""
    try:
        return str(count_words.apply_async(expires=PATIENCE, retry=False).id)
    # Celery's own word for a result backend to which it could not subscribe.
    except (OperationalError, RedisError, RuntimeError) as error:
        raise Unavailable from error


def keeps_results() -> bool:
    """Without a result backend whoever wants a result counts by themselves."""
    return bool(settings.CELERY_RESULT_BACKEND)


def look(number: UUID) -> Counting:
    """Raises ``Unavailable``."""
    try:
        result = AsyncResult(str(number))
        state = result.state
        if state == states.SUCCESS:
            return Counting("done", result.result)
    except RedisError as error:
        raise Unavailable from error
    return Counting("failed" if state in states.EXCEPTION_STATES else "pending")
