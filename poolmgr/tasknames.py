"""Whoever holds a connection in a Celery worker is called by the task that it runs, and not by its thread alone."""

from __future__ import annotations

from typing import Any

from celery.signals import task_postrun, task_prerun

from poolmgr.pools.labels import Label, current_label, set_label

#: By task's id, for whom its thread worked before: one task may call another as a function.
_before: dict[str, Label | None] = {}


def _begin(sender: Any, task_id: str, **kwargs: Any) -> None:
    _before[task_id] = current_label()
    set_label(Label("task", sender.name, task_id))


def _end(sender: Any, task_id: str, **kwargs: Any) -> None:
    set_label(_before.pop(task_id, None))


task_prerun.connect(_begin, weak=False, dispatch_uid="poolmgr.tasknames")
task_postrun.connect(_end, weak=False, dispatch_uid="poolmgr.tasknames")
