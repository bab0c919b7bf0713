"""Samples of history as the process that leads takes them, at times of the test's choosing."""

from __future__ import annotations

import time
from typing import Any

from poolmgr.control.access import control_database
from poolmgr.control.reporting import past as reading
from poolmgr.control.store import get_store
from poolmgr.control.watching import ageing, sampling
from poolmgr.control.watching.sampling import Sampler
from poolmgr.dashboard.drawing import strips
from poolmgr.dashboard.past import history
from poolmgr.metrics.totals import Gain
from poolmgr.models import Sample, SampleClock, SampledTotal


def take() -> int:
    """A turn of a process that has just begun to lead: how many rows it made."""
    with control_database():
        return Sampler().take((), {})


def begin_anew() -> None:
    """The agent of this process may have led before the test."""
    with control_database():
        for model in (Sample, SampleClock, SampledTotal):
            model.objects.all().delete()


def take_first() -> int:
    """The same where nobody has taken any."""
    begin_anew()
    return take()


class Days:
    """History's clock, which goes when the test has it go. It begins a month ago, at a full hour."""

    def __init__(self, monkeypatch: Any) -> None:
        self.now = (time.time() - 29 * 86_400) // 3600 * 3600 + 1.0
        for module in (sampling, ageing, reading, strips, history):
            monkeypatch.setattr(module, "time", lambda: self.now)
        self._number = 0
        begin_anew()

    def pass_by(self, seconds: float = 10.0) -> int:
        """Until so many seconds later, when a sample is taken; how many rows that made."""
        self.now += seconds
        return take()

    def count(self, target: str = "default", role: str = "web", uid: str = "counting", **sums: int) -> None:
        """What a process has done since."""
        self._number += 1
        get_store().count(uid, Gain(self._number, role, {target: sums}))


def raw(**more: Any) -> list[Sample]:
    """As they were taken. Whenever a minute ends with one, there are others too."""
    return list(Sample.objects.filter(tier=0, **more).order_by("at", "target", "role"))
