"""Who is told of checkouts that had to wait for a connection or got none, whatever the kind."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from poolmgr.pools import waits
from tests.kinds.conftest import ONE_ON_EACH_CORE
from tests.kinds.subjects import Subject
from tests.waiting import until

Ask = Callable[..., list[Any]]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[waits.Wait]:
    """What is told, and to nobody else."""
    found: list[waits.Wait] = []
    monkeypatch.setattr(waits, "_listeners", [])
    waits.on_wait(found.append)
    return found


def test_a_checkout_that_waited_is_told_once_and_an_immediate_one_never(  # P12
    any_subject: Subject, told: list[waits.Wait]
) -> None:
    subject = any_subject.open(max_size=1)

    def use() -> None:
        with subject.borrowed():
            pass

    held = subject.borrow()
    told.clear()  # the first may have waited for its connect
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(use)
        until(lambda: subject.pool.snapshot().pending, "the request to wait")
        assert told == []
        subject.give_back(held)
        asked.result(10)
    [wait] = told
    assert (wait.target, wait.error) == (subject.pool.target, "")
    assert 0 < wait.seconds < 5
    use()
    assert len(told) == 1


@pytest.mark.long
def test_a_checkout_that_got_nothing_is_told_with_the_name_of_its_error(
    any_subject: Subject, told: list[waits.Wait], ask: Ask
) -> None:
    subject = any_subject.open(max_size=1)
    with subject.borrowed():
        told.clear()
        subject.change(connection_timeout=0.2)
        got = ask(subject)
        until(lambda: got, "the wait to end")
    [wait] = told
    assert wait.error == type(got[0]).__name__ == "PoolExhausted"
    assert 0.2 <= wait.seconds < 5


@pytest.mark.long
@pytest.mark.parametrize("subject", ONE_ON_EACH_CORE, indirect=True)
def test_a_listener_that_fails_fails_no_checkout(
    subject: Subject, told: list[waits.Wait], ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(wait: waits.Wait) -> None:
        raise RuntimeError("a bug of the site's")

    waits.on_wait(fail)
    subject = subject.open(max_size=1)
    held = subject.borrow()
    got = ask(subject)
    subject.give_back(held)
    until(lambda: got, "the one who waits to be served")
    assert not isinstance(got[0], Exception)
    assert "who is told of waits failed" in caplog.text
    subject.give_back(got[0])
