"""What scripts/peer-suite says of two runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.djangosuite.compare import Outcome
from tests.peers import verdict
from tests.peers.peers import PEERS
from tests.peers.verdict import Listed, ListError, differing, judge, together

A, B = "tests/test_pool.py::test_a", "tests/test_pool.py::test_b"


def _outcome(**failed: str) -> Outcome:
    names = {"a": A, "a1": f"{A}[1]", "b": B}
    return Outcome(10, 0, 1.0, {names[name]: said for name, said in failed.items()}, {})


def test_failure_with_ours_alone_fails_unless_it_is_listed() -> None:
    found = judge(_outcome(a="said"), _outcome(), {}, whole=True)
    assert (found.passed, found.unknown) == (False, {A: "said"})
    found = judge(_outcome(a="said"), _outcome(), {A: Listed("why")}, whole=True)
    assert (found.passed, found.known) == (True, {A: "why"})


def test_failure_with_the_bare_library_too_tells_nothing() -> None:
    assert judge(_outcome(a="said"), _outcome(a="said"), {}, whole=True).passed


def test_listed_test_that_passes_fails_where_it_was_asked_to_run() -> None:
    listed = {A: Listed("why"), B: Listed("why")}
    found = judge(_outcome(a="said"), _outcome(), listed, whole=True)
    assert (found.passed, found.stale) == (False, (B,))
    assert judge(_outcome(a="said"), _outcome(), listed, whole=False).passed
    assert judge(_outcome(a="said", b="said"), _outcome(b="said"), listed, whole=True).stale == (B,)


def test_listed_test_that_differs_but_sometimes_may_pass() -> None:
    listed = {A: Listed("why", sometimes=True)}
    assert judge(_outcome(), _outcome(), listed, whole=True).passed
    assert judge(_outcome(a="said"), _outcome(), listed, whole=True).known == {A: "why"}


def test_listed_name_without_parameters_stands_for_each_of_them() -> None:
    found = judge(_outcome(a1="said"), _outcome(), {A: Listed("why")}, whole=True)
    assert (found.passed, found.known) == (True, {f"{A}[1]": "why"})


def test_runs_of_one_suite_are_counted_together() -> None:
    made = together([_outcome(a="said"), Outcome(5, 2, 0.5, {}, {B: "broke"})])
    assert (made.ran, made.skipped, made.seconds) == (15, 2, 1.5)
    assert made.unsuccessful == {A: "said", B: "broke"}


@pytest.mark.parametrize(
    "text",
    [
        '[[differs]]\ntests = ["a"]',
        '[[differs]]\nwhy = " "\ntests = ["a"]',
        '[[differs]]\nwhy = "so"\ntests = []',
        '[[differs]]\nwhy = "so"\ntests = ["a", "a"]',
    ],
)
def test_list_without_reasons_or_with_doubles_is_refused(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verdict, "FOLDER", tmp_path)
    (tmp_path / "some.toml").write_text(text)
    with pytest.raises(ListError, match=r"some\.toml"):
        differing("some")


@pytest.mark.parametrize("name", PEERS)
def test_every_list_of_what_differs_can_be_read(name: str) -> None:
    differing(name)


@pytest.mark.long
def test_ours_are_there_to_come_in_for_theirs() -> None:
    # In a process of its own, since each takes the place of the library's in the whole of it. django-redis's wants a run.
    inside = Path(verdict.__file__).parent / "inside"
    plugins = sorted({each.ours for each in PEERS.values() if each.ours} - {PEERS["django-redis"].ours})
    done = subprocess.run(
        [sys.executable, "-c", f"import {', '.join(plugins)}"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(inside), str(inside.parents[2])])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
