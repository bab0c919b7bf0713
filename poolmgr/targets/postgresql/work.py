"""Pieces of I/O for a pool's workers, so that neither borrowers nor the scheduler wait for them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from psycopg_pool.pool import MaintenanceTask

from poolmgr.targets.postgresql.parting import in_a_thread

if TYPE_CHECKING:
    from poolmgr.targets.postgresql.elastic import ElasticPool


class _Work(MaintenanceTask):
    def __init__(self, pool: ElasticPool, work: Callable[[], object]) -> None:
        super().__init__(pool)
        self._work = deque([work])  # from which one of two threads gets it

    def run(self) -> None:
        """Also in a pool that is closed meanwhile, where psycopg_pool's tasks do nothing: what it is about must end too."""
        if (pool := self.pool()) is not None:
            self._run(pool)

    def _run(self, pool: Any) -> None:
        try:
            work = self._work.pop()
        except IndexError:
            return
        work()


def in_worker(pool: ElasticPool, work: Callable[[], object], delay: float = 0.0) -> None:
    """Have one of the pool's workers do ``work``, now or in ``delay`` seconds."""
    task = _Work(pool, work)
    if delay:
        pool.schedule_task(task, delay)
    else:
        pool.run_task(task)
        if pool._closed and not pool._workers:
            # They were told to end meanwhile, perhaps before they come to it.
            in_a_thread(task.run)
