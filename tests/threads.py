"""What a test has other threads do: once, at the same time, or again and again while it does something else."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Begun:
    """`act` in a thread, which has begun. `outcome` gets what it returned or raised."""

    def __init__(self, act: Callable[[], Any]) -> None:
        self._act = act
        self.outcome: list[Any] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.outcome.append(self._act())
        except Exception as ex:
            self.outcome.append(ex)

    def end(self, timeout: float = 30.0) -> Any:
        """Wait for it; what it returned or raised."""
        self._thread.join(timeout)
        assert not self._thread.is_alive(), f"a thread has not come to its end within {timeout:g} s"
        return self.outcome[0]


def at_once(*acts: Callable[[], Any]) -> list[Any]:
    """What each returned or raised, in their order, when all have come to their ends."""
    begun = [Begun(act) for act in acts]
    return [each.end(60) for each in begun]


@contextmanager
def under_load(*acts: Callable[[], object]) -> Iterator[list[Exception]]:
    """Each of `acts` again and again until the block ends or it raises: the list has what."""
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
