"""Fixtures that hand out the real servers, and two rules of every run: skips can be errors, and no process survives."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

from poolsite.demo.servers import EmbeddedPostgres, EmbeddedRedis

from . import servers as running

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that runs the tests in the background has them, and all that they start, ignore what some tests send.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def postgres() -> EmbeddedPostgres:
    """The run's server. Leave it as you found it; to stop, fill or freeze one, take `make_postgres`."""
    return running.servers().postgres


@pytest.fixture(scope="session")
def redis_server() -> EmbeddedRedis:
    """The run's Redis. To stop or freeze one, take `make_redis`."""
    return running.servers().redis


@pytest.fixture
def make_postgres() -> Iterator[Callable[..., EmbeddedPostgres]]:
    """Start a server of the test's own: make_postgres(max_connections=10)."""
    directory = running.scratch_directory()
    made: list[EmbeddedPostgres] = []

    def make(**settings: object) -> EmbeddedPostgres:
        server = EmbeddedPostgres(directory / f"postgres{len(made)}", settings={**running.FAST, **settings})
        made.append(server)
        return server.start()

    yield make
    for server in made:
        server.destroy()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def make_redis() -> Iterator[Callable[[], EmbeddedRedis]]:
    """Start a Redis of the test's own."""
    directory = running.scratch_directory()
    made: list[EmbeddedRedis] = []

    def make() -> EmbeddedRedis:
        made.append(EmbeddedRedis(directory / f"redis{len(made)}"))
        return made[-1].start()

    yield make
    for server in made:
        server.stop()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def site_environment(transactional_db: None, postgres: EmbeddedPostgres) -> dict[str, str]:
    """The environment for a process of the site (gunicorn, celery, manage.py) that shares this test's database."""
    from django.conf import settings

    name = str(settings.DATABASES["default"]["NAME"])
    return {**os.environ, "DJANGO_SETTINGS_MODULE": "poolsite.settings", "DATABASE_URL": postgres.url(name)}


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

_survivors: list[str] = []


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    running.stop_servers()
    left = _marked_processes()
    # Those that are about to end get the time to do so.
    _gone, alive = psutil.wait_procs(left, timeout=5)
    for process in alive:
        _survivors.append(_describe(process))
        process.kill()
    if _survivors and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _survivors:
        terminalreporter.section("processes left behind by the tests", red=True)
        for line in _survivors:
            terminalreporter.line(line)


def _marked_processes() -> list[psutil.Process]:
    mark = os.environ.get(running.RUN_MARK)
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and mark and process.environ().get(running.RUN_MARK) == mark:
                found.append(process)
        except psutil.Error:
            # Ended meanwhile, or another user's: not ours.
            continue
    return found


def _describe(process: psutil.Process) -> str:
    try:
        return f"{process.pid} {' '.join(process.cmdline())}"
    except psutil.Error:
        return str(process.pid)
