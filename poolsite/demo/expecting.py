"""How a step of the self-check fails: with a sentence that says how it did not come out."""

import threading
import time
from collections.abc import Callable


class Failed(Exception):
    """A step did not come out as it must; the message says how."""


def expect(true: bool, otherwise: str) -> None:
    if not true:
        raise Failed(otherwise)


def await_that(
    condition: Callable[[], bool], seconds: float, otherwise: Callable[[], str], pause: float = 0.05
) -> None:
    """Look again until it is so; what it was in the end becomes the error."""
    deadline = time.monotonic() + seconds
    never = threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"not within {seconds:g} s: {otherwise()}")
        never.wait(pause)
