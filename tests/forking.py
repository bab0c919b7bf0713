"""Forking the process of a test: a child that does one thing, tells what came of it, and is gone."""

import json
import os
import signal
import traceback
from collections.abc import Callable
from select import select
from typing import Any


class Child:
    """A forked child at `act`. It ends without a word to what the test runner left to be done at the end."""

    def __init__(self, act: Callable[[], Any]) -> None:
        self._reading, writing = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            _act_and_tell(act, writing)
        os.close(writing)

    def answer(self, timeout: float = 60.0) -> Any:
        """What `act` returned, as JSON has it; an AssertionError with its traceback where it raised, or says nothing."""
        with os.fdopen(self._reading) as told:
            if not select([told], [], [], timeout)[0]:
                os.kill(self.pid, signal.SIGKILL)
            said = told.read()
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        assert said, f"the child said nothing within {timeout:g} s, and ended with {status}"
        returned, answer = json.loads(said)
        assert returned, f"the child failed:\n{answer}"
        assert status == 0
        return answer


def in_child(act: Callable[[], Any]) -> Any:
    """What `act` returned in a forked child, for which this waits."""
    return Child(act).answer()


def _act_and_tell(act: Callable[[], Any], writing: int) -> None:
    try:
        try:
            said = json.dumps([True, act()])
        except BaseException:
            # In words: what the runner makes of it is the parent's affair.
            said = json.dumps([False, traceback.format_exc()])
        os.write(writing, said.encode())
    finally:
        os._exit(0)
