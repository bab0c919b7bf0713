"""Whoever holds a connection in a Celery worker is called by the task that it runs, and not by its thread alone."""

from __future__ import annotations

from typing import Any

from celery.signals import task_postrun, task_prerun

from poolmgr.pools.owners import begin_work, end_work


def _words(sender: Any, task_id: str) -> str:
    # As Celery's log has it.
    return f"{sender.name}[{task_id}]"


def _begin(sender: Any, task_id: str, **kwargs: Any) -> None:
    begin_work(_words(sender, task_id))


def _end(sender: Any, task_id: str, **kwargs: Any) -> None:
    end_work(_words(sender, task_id))


task_prerun.connect(_begin, weak=False, dispatch_uid="poolmgr.tasknames")
task_postrun.connect(_end, weak=False, dispatch_uid="poolmgr.tasknames")
