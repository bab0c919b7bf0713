"""What holds for every run of the tests, alone and side by side. Each test here runs pytest on tests of its own."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.servers import servers
from tests.waiting import until
from tests.workers import WORKER

ROOT = Path(__file__).parents[2]
LEAVES_A_PROCESS = """
import subprocess, sys

def test_leaves():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    print(child.pid, file=open("left", "a"))
"""
CRASHES = LEAVES_A_PROCESS + "    import os; os._exit(3)\n"
SKIPS = "import pytest\n\n\ndef test_skips():\n    pytest.skip('needs a thing: install thing')\n"
SKIPS_WHOLE = "import pytest\n\npytest.skip('needs another thing', allow_module_level=True)\n"
TELLS_ITS_WORKER = """
import os, pytest

@pytest.mark.parametrize("number", range(8))
def test_tells(number):
    print(os.environ["PYTEST_XDIST_WORKER"], file=open("who", "a"))
"""
LONG = "import pytest\n\n\n@pytest.mark.long\ndef test_long():\n    pass\n\n\ndef test_short():\n    pass\n"

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """run({"name": source}, *arguments, **environment): pytest with the project's rules on files of these texts."""
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -ra\nmarkers = long\ntogether = test_together.py\n")

    def pytest_on(files: dict[str, str], *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        for name, source in files.items():
            (tmp_path / f"test_{name}.py").write_text(source)
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("POOLMGR_", "PYTEST_", "DJANGO_"))}
        plugins = [word for name in ("xdist", "tests.rules", "tests.workers") for word in ("-p", name)]
        return subprocess.run(
            [sys.executable, "-m", "pytest", *plugins, *arguments],
            env={**clean, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **environment},
            cwd=tmp_path, capture_output=True, text=True, timeout=100,
        )  # fmt: skip

    return pytest_on


def has_ended(pid: int) -> bool:
    """Also one that nobody has asked for its status yet."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.long
def test_what_a_run_tells(run: Run, tmp_path: Path, workers: str) -> None:
    files = {"leaves": LEAVES_A_PROCESS, "skips": SKIPS, "skips_whole": SKIPS_WHOLE, "long": LONG}
    done = run(files, "-n", workers)
    # A process that outlives the run is named, ended, and makes an error of it.
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    [pid] = (tmp_path / "left").read_text().split()
    assert f"{pid} {sys.executable} -c import time" in done.stdout.partition("processes left behind by the tests")[2]
    until(lambda: has_ended(int(pid)), "the process to end")
    # Skips say what to install, long tests how to run them.
    assert "2 passed, 2 skipped" in done.stdout
    assert "needs a thing: install thing" in done.stdout
    assert "needs another thing" in done.stdout
    assert "1 long test left out: --all runs it too" in done.stdout


@pytest.mark.long
@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_run_with_everything_forbids_skips(run: Run, workers: str) -> None:
    done = run({"skips": SKIPS, "long": LONG}, "-n", workers, "--all", POOLMGR_NO_SKIPS="1")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    assert "1 failed, 2 passed" in done.stdout
    assert "skipped although POOLMGR_NO_SKIPS=1 forbids it" in done.stdout
    assert "left out" not in done.stdout


@pytest.mark.long
@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_file_that_is_skipped_is_an_error_too_where_skips_are_forbidden(run: Run, workers: str) -> None:
    done = run({"whole": SKIPS_WHOLE, "long": LONG}, "-n", workers, POOLMGR_NO_SKIPS="1")
    assert done.returncode not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
    assert "skipped although POOLMGR_NO_SKIPS=1 forbids it" in done.stdout


def test_long_tests_run_for_whom_names_their_file(run: Run) -> None:
    done = run({"long": LONG}, "test_long.py")
    assert "2 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.long
def test_what_shares_something_dear_is_one_worker_s_work(run: Run, tmp_path: Path) -> None:
    done = run({"together": TELLS_ITS_WORKER, "short": "def test_short():\n    pass\n"}, "-n", "2")
    assert "9 passed" in done.stdout, done.stdout + done.stderr
    assert len(set((tmp_path / "who").read_text().split())) == 1


@pytest.mark.long
def test_what_a_crashed_worker_leaves_is_named_too(run: Run, tmp_path: Path) -> None:
    done = run({"crashes": CRASHES}, "-n", "2")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    told = done.stdout.partition("processes left behind by the tests")[2]
    left = (tmp_path / "left").read_text().split()
    assert left
    assert [pid for pid in left if f"{pid} " not in told] == []
    until(lambda: all(has_ended(int(pid)) for pid in left), "the processes to end")


def test_each_worker_has_servers_of_its_own_and_who_hands_out_tests_has_none() -> None:
    mine = {servers().postgres.pid, servers().redis.pid}
    assert mine <= {child.pid for child in psutil.Process().children()}
    if WORKER in os.environ:
        starter = psutil.Process(os.getppid())
        started = {name for child in starter.children() for name in child.cmdline()[:1]}
        assert started == {sys.executable}, "the workers alone"
