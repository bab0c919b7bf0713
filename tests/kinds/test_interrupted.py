"""An exception that comes between any two steps of a borrower's thread, as one out of a signal handler may."""

import gc
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import copy
from dis import get_instructions
from functools import cache, partial
from types import CodeType, FrameType
from typing import Any

import pytest

from poolmgr.exceptions import CheckoutError
from tests.kinds.subjects import Subject
from tests.sampling import steps
from tests.waiting import until

#: Pools that are left to come right, side by side.
AT_A_TIME = 20
#: Whose code is interrupted.
MODULES = ("poolmgr.", "psycopg_pool", "redis.")


class Interrupted(BaseException):
    """As Celery's SoftTimeLimitExceeded, or a KeyboardInterrupt."""


@cache
def names_of(code: CodeType) -> dict[int, str]:
    return {each.offset: each.opname for each in get_instructions(code)}


@contextmanager
def interrupted_at(step: int, modules: tuple[str, ...] = MODULES) -> Iterator[list[int]]:
    """Raise in this thread at the step with this number; the list has how many there were.

    Python looks for signals when a function begins, after a call and when a loop goes round. Only what is done in the
    code of the pools counts, which asks its libraries for little.
    """
    steps = [0]
    last: dict[FrameType, str] = {}

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        if not frame.f_globals.get("__name__", "").startswith(modules):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            before, last[frame] = last.get(frame, ""), names_of(frame.f_code).get(frame.f_lasti, "")
            if before.startswith("CALL") or before in ("RESUME", "JUMP_BACKWARD"):
                steps[0] += 1
                if steps[0] == step:
                    raise Interrupted
        return trace

    sys.settrace(trace)
    try:
        yield steps
    finally:
        sys.settrace(None)
        last.clear()  # the frames, which know of connections, know of it too


def is_whole(pool: Any) -> bool:
    seen, load = pool.snapshot(), pool.load()
    return (seen.used, seen.pending, seen.opening, seen.closing) == (0, 0, 0, 0) and load.held == seen.idle


def use(subject: Subject) -> None:
    """Two connections are opened; one is given back in order, one that is dead, one that will not do for others."""
    one, two = subject.borrow(), subject.borrow()
    subject.give_back(one)
    subject.break_off(two)
    subject.give_back(two)
    three = subject.borrow()
    subject.soil(three)
    subject.give_back(three)


def come_right(hurt: list[Subject]) -> None:
    for subject in hurt:
        until(partial(is_whole, subject.pool))
        held = subject.hold(2)
        assert len({subject.use(conn) for conn in held}) == 2
        subject.give_all_back(held)
        subject.pool.close()
    hurt.clear()


# The others' borrowers are tasks, whose way to be interrupted is to be cancelled.
@pytest.mark.timeout(300)
@pytest.mark.long
@pytest.mark.parametrize("subject", ["postgresql", "redis", "sqlalchemy"], indirect=True)
def test_an_exception_between_any_two_steps_of_checkout_and_return_costs_no_place(  # P3 P4
    subject: Subject, caplog: pytest.LogCaptureFixture
) -> None:
    # The runner keeps what is logged of an error, whose frames refer to the connection: then nobody has dropped it.
    caplog.set_level(logging.CRITICAL, "sqlalchemy.pool")
    hurt: list[Subject] = []
    subject.open(max_size=2, connection_timeout=1.0)
    for step in steps():
        with suppress(Interrupted, CheckoutError), interrupted_at(step) as done:
            use(subject)
        if done[0] < step:
            break
        with suppress(AssertionError):
            until(partial(is_whole, subject.pool), timeout=0.1)
            continue
        hurt.append(copy(subject))
        if len(hurt) == AT_A_TIME:
            come_right(hurt)
        subject.open(max_size=2, connection_timeout=1.0)
    assert step > 100
    come_right(hurt)
    subject.pool.close()
    gc.collect()
    # Nor does anything go on at the server for which nobody waits any more.
    until(lambda: not subject.ends())
