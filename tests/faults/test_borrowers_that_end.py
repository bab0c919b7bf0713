"""Threads, greenlets, requests and tasks that end without giving back: their connections come back all the same."""

import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from poolsite.demo.ports import free_port
from tests.faults.borrowers import Borrower
from tests.faults.conftest import ROOT, program_environment
from tests.pools import backends
from tests.sampling import first_always
from tests.waiting import until

pytestmark = pytest.mark.faults

each_mode = pytest.mark.parametrize("mode", first_always("transaction", "session", "statement"))


# -- threads --------------------------------------------------------------------------------------------------------------


def test_look_at_what_threads_run_never_has_the_process_stand_still() -> None:  # P4
    """Until Python 3.11 it may meet a collection of garbage in the middle, whose finalisers let other threads go on."""
    program = [sys.executable, "-m", "tests.faults.programs.looking"]
    looked = subprocess.run(program, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=30, check=True)
    assert looked.stdout == "True\n"  # garbage is collected afterwards, too


def test_what_threads_held_when_they_ended_comes_back_within_5_seconds(borrow: Callable[..., Borrower]) -> None:  # P4
    borrower = borrow(max_size=3, connection_timeout=5)
    entered: list[Any] = []

    def end_without_a_word() -> None:
        holding = borrower.borrowed()
        ask = holding.__enter__()
        ask("SELECT 1")
        # Kept, so that nothing but the end of the thread can tell.
        entered.append((holding, ask))

    threads = [threading.Thread(target=end_without_a_word) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    began = time.monotonic()
    until(lambda: borrower.pool.snapshot().used == 0, "the connections to come back", 5)
    assert borrower.pool.snapshot().reclaimed == 3
    borrower.recovers(5 - (time.monotonic() - began) + 1)
    entered.clear()
    # Whatever the ended threads left is collected now, and reaches nobody.
    borrower.recovers()


def test_a_request_that_waits_gets_what_an_ended_thread_held(borrow: Callable[..., Borrower]) -> None:  # P4
    borrower = borrow(max_size=1, connection_timeout=5)
    thread = threading.Thread(target=borrower.pool.checkout)
    thread.start()
    thread.join()
    assert borrower.request("SELECT 5") == 5
    borrower.recovers()


# -- greenlets ------------------------------------------------------------------------------------------------------------


@pytest.mark.long
@each_mode
def test_greenlets_share_a_small_pool_and_killed_ones_give_back(program: Any, mode: str) -> None:  # P3 P4
    told = program("greenlets", max_size=2, pool_mode=mode)
    assert told["pids"] <= 2
    assert told["full"] == [2, 5]
    assert told["pending"] == 0
    assert told["gave_up"] == ["timeout"] * 4
    for each in ("quiet", "quiet_after_kill", "quiet_after_races", "quiet_after_the_end"):
        assert told[each] < 5, each
    assert (told["works"], told["used"]) == (True, 0)
    assert told["sessions"] <= 2


@pytest.mark.long
@each_mode
def test_what_greenlets_of_eventlet_held_comes_back(program: Any, mode: str) -> None:  # P3 P4
    told = program("eventlets", max_size=2, pool_mode=mode)
    assert "housekeeping failed" not in told["stderr"]
    assert told["pids"] <= 2
    assert (told["full"], told["named"], told["left"]) == (2, True, 2)
    for each in ("quiet", "quiet_after_kill", "quiet_after_the_end"):
        assert told[each] < 5, each
    assert told["reclaimed"] >= 2
    assert (told["works"], told["used"]) == (True, 0)


# -- ASGI -----------------------------------------------------------------------------------------------------------------


@each_mode
def test_asgi_requests_of_every_kind_give_back_also_when_the_client_leaves(program: Any, mode: str) -> None:  # P4
    told = program("asgi", max_size=4, pool_mode=mode)
    assert told["answers"] == ["200", "500"]
    assert told["failed"] == 6  # the view that fails on purpose
    assert told["left"] == 9
    assert told["after"] == ["200"] * 16
    assert told["before"] == 0
    assert told["most"] <= 4
    assert told["quiet"] < 5
    assert told["quiet_after_leaving"] < 5
    assert (told["used"], told["waiting"]) == (0, 0)
    assert told["sessions"] == told["size"] <= 4


# -- Celery ---------------------------------------------------------------------------------------------------------------


@contextmanager
def running(command: list[str], environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *command], env=environment, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise


@pytest.mark.long
@pytest.mark.parametrize(
    ("mode", "kind"),
    first_always(
        ("session", "prefork"),
        ("transaction", "threads"),
        ("session", "threads"),
        ("transaction", "prefork"),
        ("session", "gevent"),
        ("transaction", "gevent"),
    ),
)
def test_celery_tasks_share_their_process_s_connections(  # P3 P6
    postgres: Any, redis_server: Any, tmp_path: Path, kind: str, mode: str
) -> None:
    """200 short tasks with a native ``pool`` key, at which Celery closes native pools around each task."""
    url = postgres.create_database("programs")
    environment = {
        **program_environment(url, max_size=2, pool_mode=mode),
        "BROKER": redis_server.url(),
        "QUEUE": f"{kind}-{mode}",
        "DJANGO_SETTINGS_MODULE": "tests.faults.programs.settings",
    }
    send = (
        "import json; from celery import group; from tests.faults.programs.tasks import work\n"
        "print(json.dumps(group(work.s(n) for n in range(200)).apply_async().get(timeout=60)))"
    )
    command = ["celery", "-A", "tests.faults.programs.tasks", "worker", "-P", kind, "-c", "3", "-l", "INFO"]
    command += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    assert not backends(url)
    with running(command, environment, tmp_path / "worker.log"):
        asked = subprocess.run(
            [sys.executable, "-c", send], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=90
        )
        log = (tmp_path / "worker.log").read_text()
        assert asked.returncode == 0, asked.stderr + log
        answers = json.loads(asked.stdout.splitlines()[-1])
        processes = {process for process, _ in answers}
        # Not one more than the pools may hold was opened over all the tasks: no pool was rebuilt.
        assert len(processes) == (3 if kind == "prefork" else 1), log
        assert len({pid for _, pid in answers}) <= len(processes) * 2
        assert len(backends(url)) <= len(processes) * 2
        owners: dict[int, set[int]] = {}
        for process, pid in answers:
            owners.setdefault(pid, set()).add(process)
        assert all(len(each) == 1 for each in owners.values())
    until(lambda: not backends(url), "the worker's connections to close")


# -- runserver ------------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_the_reloader_leaves_no_connection_of_the_old_process(postgres: Any, tmp_path: Path) -> None:  # P4
    url = postgres.create_database("programs")
    views = tmp_path / "edited_views.py"

    def write(version: int) -> None:
        views.write_text(
            "from django.http import HttpResponse\nfrom django.urls import path\n"
            "from tests.faults.programs.site import query\n"
            f"urlpatterns = [path('', lambda request: HttpResponse(f'{version} {{query()}}'))]\n"
        )

    port = free_port()
    environment = {
        **program_environment(url, max_size=2),
        "RELOADED": "1",
        "ROOT_URLCONF": "edited_views",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }

    def ask() -> list[str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
                return str(answer.read().decode()).split()
        except OSError:
            return []

    write(1)
    with running(["tests.faults.programs.reloaded", "runserver", f"127.0.0.1:{port}"], environment, tmp_path / "log"):
        _, before = until(ask, "the server to answer", 20)
        time.sleep(1.1)  # the reloader looks at whole seconds of a file's time
        write(2)
        version, after = until(lambda: (got := ask()) and got[0] == "2" and got, "the server to reload", 20)
        assert before != after
        until(lambda: backends(url) == {int(after)}, "the old process's connections to go")
