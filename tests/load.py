"""Threads that go on and on while a test does something else."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def under_load(*acts: Callable[[], object]) -> Iterator[list[Exception]]:
    """Each of `acts` again and again, in a thread of its own, until the block ends or it raises: the list has what."""
    over, errors = threading.Event(), []

    def go_on(act: Callable[[], object]) -> None:
        while not over.is_set():
            try:
                act()
            except Exception as ex:
                errors.append(ex)
                return

    threads = [threading.Thread(target=go_on, args=[act]) for act in acts]
    for thread in threads:
        thread.start()
    try:
        yield errors
    finally:
        over.set()
        for thread in threads:
            thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
