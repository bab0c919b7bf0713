"""A Celery application that keeps its results on a managed pool: for the workers that tests start, and for the tests."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery import Celery

import poolmgr

TARGET = "results"
BACKEND = f"poolmgr.targets.redis.celery.ResultBackend+target://{TARGET}"


def make_app(broker: str, queue: str, **conf: Any) -> Celery:
    app = Celery("work", broker=broker, backend=BACKEND, set_as_current=False)
    app.conf.update(
        task_default_queue=queue, worker_hijack_root_logger=False, broker_connection_retry_on_startup=True, **conf
    )

    @app.task(shared=False, name="work.add")
    def add(x: int, y: int) -> int:
        return x + y

    @app.task(shared=False, name="work.nap")
    def nap(seconds: float) -> int:
        time.sleep(seconds)
        return os.getpid()

    @app.task(shared=False, name="work.total")
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    @app.task(shared=False, name="work.fail")
    def fail() -> None:
        raise LookupError("on purpose")

    @app.task(shared=False, name="work.hold")
    def hold(seconds: float = 0.0) -> list[str]:
        """Who holds connections while this task does."""
        pool = poolmgr.pool(TARGET)
        connection = pool.get_connection()
        try:
            time.sleep(seconds)
            return [each.who for each in pool.managed.snapshot().holders]
        finally:
            pool.release(connection)

    return app


@contextmanager
def worker(queue: str, environment: dict[str, str], pool: str = "threads", size: int = 2) -> Iterator[Any]:
    """A real worker of the application in `celery_worker`, with a line for each warning on its stderr."""
    command = [sys.executable, "-m", "celery", "-A", "tests.kinds.celery_worker", "worker", "-P", pool, "-c", str(size)]
    command += ["--loglevel", "WARNING", "-Q", queue, "--without-gossip", "--without-mingle"]
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)
