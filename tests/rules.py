"""Three rules of every run: long tests wait to be asked for, skips can be errors, and no process survives."""

import os
import time
from pathlib import Path
from typing import Any
from zlib import crc32

import psutil
import pytest

from .sampling import THOROUGH
from .workers import RUN_MARK, belongs_here, mark_run

# -- long tests are for --all, or for who names them -------------------------------------------------------------------

_left_out = _not_drawn = 0
#: Of the cases that differ little from others (tests/sampling.py), a whole run tries one in so many, others each time.
ONE_IN = 3


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="Run the long tests too (marker: long).")
    told = "A directory for what the browser shows in the tests that the documents have pictures of."
    parser.addoption("--pictures", metavar="DIRECTORY", help=told)
    # For the scheduler of tests.workers; here, because who runs without it has the same configuration.
    told = "Files and directories whose tests share something dear: one worker runs all of each, and begins with them."
    parser.addini("together", told, type="linelist")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    global _left_out, _not_drawn
    named = {Path(argument.partition("::")[0]).resolve() for argument in config.args}
    asked_for = config.option.all or config.option.markexpr
    long = [item for item in items if item.get_closest_marker("long")]
    kept = [item for item in long if asked_for or item.path in named]
    drawn = [item for item in kept if THOROUGH or item.path in named or not _is_a_case(item) or _is_drawn(item)]
    _not_drawn = len(kept) - len(drawn)
    # Last, when nobody is left to whom the load that they make matters; those that take longest first, so that the others
    # run beside them.
    drawn.sort(key=_allowed, reverse=True)
    left_out = set(long) - set(drawn)
    _left_out = len(left_out) - _not_drawn
    items[:] = [item for item in items if not item.get_closest_marker("long")] + drawn
    if left_out:
        config.hook.pytest_deselected(items=list(left_out))


def _is_a_case(item: pytest.Item) -> bool:
    """Whether it is long by one of its parameters, so that there are tests that differ from it by that alone."""
    found = getattr(item, "callspec", None)
    return found is not None and any(mark.name == "long" for mark in found.marks)


def _is_drawn(item: pytest.Item) -> bool:
    # By the run, since all workers have to find the same.
    return crc32(f"{os.environ.get(RUN_MARK)} {item.nodeid}".encode()) % ONE_IN == 0


def _allowed(item: pytest.Item) -> float:
    """Seconds that the mark `timeout` gives it beyond what all have."""
    mark = item.get_closest_marker("timeout")
    return float(mark.args[0]) if mark and mark.args else 0.0


# -- a skip is an error where everything is installed ------------------------------------------------------------------


def _refuse_skip(report: Any) -> None:
    if report.skipped and os.environ.get("POOLMGR_NO_SKIPS") == "1" and not hasattr(report, "wasxfail"):
        reason = report.longrepr[-1] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid}: skipped although POOLMGR_NO_SKIPS=1 forbids it. {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Any:
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Any:
    report = yield
    _refuse_skip(report)
    return report


# -- no process survives the run ---------------------------------------------------------------------------------------

# Seconds; of the kernel's own threads, which have none for good, few are that young.
JUST_STARTED = 0.5
_survivors: list[str] = []


def pytest_configure() -> None:
    mark_run()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    # A worker answers for its own; who started the workers, once they have ended, for whatever is left.
    left = _marked_processes()
    # Those that are about to end get the time to do so.
    _gone, alive = psutil.wait_procs(left, timeout=5)
    for process in alive:
        _survivors.append(_describe(process))
        process.kill()
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput.update(survivors=_survivors, left_out=_left_out, not_drawn=_not_drawn)
    elif _survivors and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _marked_processes() -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and belongs_here(_environment(process)):
                found.append(process)
        except psutil.Error:
            # Ended meanwhile, or another user's: not ours.
            continue
    return found


def _environment(process: psutil.Process) -> dict[str, str]:
    """Also of one that begins: the kernel answers whoever started it a moment before the environment can be read."""
    while not (found := process.environ()) and time.time() - process.create_time() < JUST_STARTED:
        time.sleep(0.01)
    return found


def _describe(process: psutil.Process) -> str:
    try:
        return f"{process.pid} {' '.join(process.cmdline())}"
    except psutil.Error:
        return str(process.pid)


# -- what is told at the end -------------------------------------------------------------------------------------------


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A worker has ended; one that crashed has nothing to say."""
    global _left_out, _not_drawn
    told = getattr(node, "workeroutput", {})
    _survivors.extend(told.get("survivors", []))
    # All workers collect the same tests.
    _left_out = max(_left_out, told.get("left_out", 0))
    _not_drawn = max(_not_drawn, told.get("not_drawn", 0))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _left_out:
        many = "1 long test left out: --all runs it too"
        terminalreporter.line(many if _left_out == 1 else f"{_left_out} long tests left out: --all runs them too")
    if _not_drawn:
        terminalreporter.line(f"{_not_drawn} cases that differ little from others left out: THOROUGH=1 runs them too")
        terminalreporter.line(f"{RUN_MARK}={os.environ[RUN_MARK]} draws the same sample again")
    if _survivors:
        terminalreporter.section("processes left behind by the tests", red=True)
        for line in _survivors:
            terminalreporter.line(line)
