"""A site's processes, each a fork of one that has loaded everything, as servers do: python -m benchmarks.site DIRECTORY.

It reads lines, and answers each: ``fork`` makes one and tells its pid, ``migrate`` makes the tables. A process serves
requests until SIGTERM, and leaves what it saw in the directory. All end with the standard input.
"""

from __future__ import annotations

import atexit
import gc
import json
import mmap
import os
import queue
import random
import signal
import struct
import sys
import threading
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import django
from django.core.management import call_command
from django.db import connections

import poolmgr

#: Requests come in bursts of one to so many, each of which has a thread; how long their query takes, in seconds.
THREADS, WORK = 10, 0.1
PACE = "pace"


class Pace:
    """The mean seconds between two bursts of a process, in a file that all of them look at."""

    def __init__(self, directory: Path) -> None:
        path = directory / PACE
        if not path.exists():
            path.write_bytes(struct.pack("d", 1.0))
        with path.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), 8)

    @property
    def seconds(self) -> float:
        return float(struct.unpack("d", self._shared)[0])

    @seconds.setter
    def seconds(self, value: float) -> None:
        self._shared[:] = struct.pack("d", value)


class Process:
    """One of the site's, from its fork to its end. ``number`` decides on its traffic, which is the same in every run."""

    def __init__(self, directory: Path, number: int) -> None:
        self._directory, self._number = directory, number
        self._pace = Pace(directory)
        self._arrived: queue.SimpleQueue[float | None] = queue.SimpleQueue()
        self._served: list[tuple[float, float, str]] = []
        self._stopped = threading.Event()

    def run(self) -> None:
        signal.signal(signal.SIGTERM, lambda number, frame: self._stopped.set())
        chance = random.Random(self._number)
        threads = [threading.Thread(target=self._serve, name=f"request-{number}") for number in range(THREADS)]
        for thread in threads:
            thread.start()
        while not self._stopped.wait(chance.expovariate(1 / self._pace.seconds)):
            for _ in range(chance.randint(1, THREADS)):
                self._arrived.put(time.monotonic())
        for _ in threads:
            self._arrived.put(None)
        for thread in threads:
            thread.join()
        unfinished = self._directory / f"{os.getpid()}.part"
        unfinished.write_text(json.dumps(self._served))
        unfinished.rename(self._directory / f"{os.getpid()}.json")

    def _serve(self) -> None:
        while (arrived := self._arrived.get()) is not None:
            error = ""
            try:
                with connections["default"].cursor() as cursor:
                    cursor.execute("SELECT pg_sleep(%s)", [WORK])
                    cursor.fetchone()
            except Exception as failed:
                error = f"{type(failed).__name__}: {str(failed).strip().splitlines()[0]}"
            with suppress(Exception):
                connections["default"].close()
            self._served.append((arrived, time.monotonic() - arrived, error))


def main(directory: Path) -> None:
    django.setup()
    # What a site that is loaded before the fork has loaded by then.
    import_module("poolmgr.control.store.redis")
    with poolmgr.unpooled(), connections["default"].cursor() as cursor:
        cursor.execute("SELECT 1")
    connections.close_all()
    gc.freeze()
    children: list[int] = []
    try:
        for line in sys.stdin:
            if line.strip() == "fork":
                children.append(_fork(directory, len(children)))
                print(children[-1], flush=True)
            else:
                call_command("migrate", verbosity=0)
                print("migrated", flush=True)
    finally:
        for pid in children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        for pid in children:
            os.waitpid(pid, 0)


def _fork(directory: Path, number: int) -> int:
    if pid := os.fork():
        return pid
    try:
        Process(directory, number).run()
        atexit._run_exitfuncs()
    finally:
        # There is no way back into the parent's loop.
        os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
