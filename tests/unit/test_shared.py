"""Viewers share a reading: the first of a second reads, and nobody waits for one that failed."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from poolmgr.dashboard.reading import shared
from poolmgr.dashboard.reading.shared import Shared


@pytest.fixture(autouse=True)
def _lasting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "SECONDS", 60.0)


def test_those_who_come_while_somebody_reads_have_what_they_read() -> None:  # P12
    reads, going = Shared[int](), threading.Event()
    counted: list[int] = []

    def read() -> int:
        counted.append(1)
        going.wait(10)
        return len(counted)

    with ThreadPoolExecutor(8) as viewers:
        found = [viewers.submit(reads.get, "page", read) for _ in range(8)]
        going.set()
        assert [each.result(10) for each in found] == [1] * 8
    assert reads.get("page", read) == 1
    assert reads.get("another", read) == 2


def test_a_reading_that_failed_is_nobody_else_s() -> None:
    reads = Shared[int]()

    def fail() -> int:
        raise LookupError("gone")

    with pytest.raises(LookupError):
        reads.get("page", fail)
    assert reads.get("page", lambda: 5) == 5


def test_one_that_hangs_is_waited_for_no_longer_than_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "PATIENCE", 0.01)
    reads, over, begun = Shared[int](), threading.Event(), threading.Event()

    def hang() -> int:
        begun.set()
        over.wait(10)
        return 1

    with ThreadPoolExecutor(1) as other:
        hanging = other.submit(reads.get, "page", hang)
        begun.wait(10)
        assert reads.get("page", lambda: 2) == 2
        over.set()
        assert hanging.result(10) == 1
    # Only the readings of a second are kept, and no more than so many.
    for key in range(100):
        reads.get(key, lambda: 0)
    assert len(reads._readings) <= 50
