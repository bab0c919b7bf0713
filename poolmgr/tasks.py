"""The Celery tasks of poolmgr. Each is idempotent, and safe to run twice at once.

Importing this needs no Celery; without it the tasks are plain functions.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.db.utils import Error as DatabaseError

from poolmgr.control import agent, pruning, upkeep
from poolmgr.control.access import control_database, sentence_of
from poolmgr.control.commanding import rolling
from poolmgr.control.reporting.health import check_target as look_at
from poolmgr.control.store import StoreDown
from poolmgr.pools.lane import console_lane
from poolmgr.targets.known import known_targets

try:
    from celery import shared_task
    from celery.signals import worker_process_shutdown
except ModuleNotFoundError:

    def shared_task(**options: Any) -> Callable[[Any], Any]:
        return lambda function: function

else:
    from poolmgr import tasknames  # noqa: F401 - has holders called by their tasks

    # Children of a prefork worker end without Python's own farewell.
    worker_process_shutdown.connect(lambda **kwargs: agent.stop(), weak=False, dispatch_uid="poolmgr.agent")

log = logging.getLogger("poolmgr.tasks")

#: Seconds between ticks: the finest step in which an edited interval takes effect.
TICK = 5.0


#: By task, its turns in vain since it last worked, in this process.
_in_vain: Counter[str] = Counter()


def _scheduled(task: Callable[[], str]) -> Callable[[], str]:
    """Run on the console lane; a control database that is down costs two lines in the log: the next turn tries again."""

    @wraps(task)
    def run() -> str:
        try:
            with control_database():
                done = task()
        except (DatabaseError, StoreDown) as error:
            sentence = str(error) if isinstance(error, StoreDown) else sentence_of(error)
            _in_vain[task.__name__] += 1
            level = logging.WARNING if _in_vain[task.__name__] == 1 else logging.INFO
            log.log(level, "%s did nothing: %s", task.__name__, sentence)
            return sentence
        if turns := _in_vain.pop(task.__name__, 0):
            log.warning("%s works again, after %d turns that did nothing", task.__name__, turns)
        return done

    return run


@shared_task(ignore_result=True)
@_scheduled
def tick() -> str:
    """Start whatever is due by the intervals that are in force now."""
    due = upkeep.targets_due()
    for target in due:
        check_target.apply_async([target], expires=30)
    for run in rolling.abandoned():
        recycle.apply_async([run.target, run.author], expires=60)
    return f"{len(due)} checks started"


@shared_task(ignore_result=True)
def check_target(target: str) -> str:
    """Check one target and keep the result."""
    with console_lane():
        try:
            with control_database():
                check = upkeep.check_and_store(target)
        except DatabaseError as error:
            # Most often because the target is the control database itself: say at least what a check meets.
            check = look_at(target)
            log.warning("The check of %s can't be stored: %s", target, sentence_of(error))
    if check is None:
        return f"{target}: another worker is at it"
    # A line when it begins and one when it is over, and not one at every check.
    log.log(logging.WARNING if check.is_news else logging.INFO, "%s is %s: %s", target, check.state, check.message)
    return f"{target} is {check.state}: {check.message}"


@shared_task(ignore_result=True)
def check_targets() -> str:
    """Check every target now."""
    with console_lane():  # one piece of work: what is away is waited for once
        return "; ".join(check_target(target) for target in known_targets())


@shared_task(ignore_result=True, acks_late=True, reject_on_worker_lost=True)
def recycle(target: str, author: str = "") -> str:
    """Replace the connections to a target in one process after another; new ones are ready before the old go."""
    sentence = rolling.drive(target, author)
    log.info(sentence)
    return sentence


@shared_task(ignore_result=True)
@_scheduled
def prune() -> str:
    """Delete history that is older than its retention."""
    return f"{pruning.prune()} rows deleted"


@shared_task(ignore_result=True)
@_scheduled
def sweep() -> str:
    """Clear away processes that died without a word."""
    return f"{len(upkeep.sweep())} dead processes cleared away"


def beat_schedule() -> dict[str, dict[str, Any]]:
    """Entries for Celery's ``beat_schedule``. They expire before their next turn, so that none pile up."""
    turns = {"tick": TICK, "sweep": 30.0, "prune": 3600.0}
    return {
        f"poolmgr-{name}": {"task": f"poolmgr.tasks.{name}", "schedule": seconds, "options": {"expires": seconds}}
        for name, seconds in turns.items()
    }
