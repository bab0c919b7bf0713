"""scripts/demo as people meet it: it stops when told, stops when a part of it ends, and says why it can't start."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from poolsite.demo.ports import free_port
from tests.sampling import first_always
from tests.servers import scratch_directory

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {key: value for key, value in os.environ.items() if key not in ("DATABASE_URL", "REDIS_URL")}


def demo(directory: Path, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "poolsite.demo.run", "--directory", str(directory), *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, env=ENVIRONMENT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def read_until(process: "subprocess.Popen[str]", end: str) -> str:
    """The demo's output up to the line that contains end; all of it when the demo ends before."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if end in line:
            break
    return "".join(lines)


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    """One for all tests here, as one checkout has: the documents are loaded once."""
    from poolsite.demo.servers import EmbeddedPostgres

    path = scratch_directory()
    yield path
    EmbeddedPostgres(path / "postgres").destroy()
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def running(directory):
    """The demos that were started, the last of which may still run: a start is dear."""
    made = []
    yield made
    for process, *_rest in made:
        end(process)
        process.stdout.close()


def end(process):
    process.kill()
    process.wait()


@pytest.fixture
def unused(directory, running):
    """The directory when no demo runs with it."""
    for process, *_rest in running[-1:]:
        end(process)
    return directory


@pytest.fixture
def started(directory, running):
    if not running or running[-1][0].poll() is not None:
        port = free_port()
        process = demo(directory, "--port", str(port))
        said = read_until(process, "Ctrl-C stops")
        running.append((process, said, psutil.Process(process.pid).children(recursive=True), port))
    return running[-1]


@pytest.mark.timeout(180)
@pytest.mark.long
def test_one_at_a_time(directory, started):
    second = demo(directory, "--port", str(free_port()))
    assert f"another demo runs with the data in {directory}: stop it first." in second.communicate(timeout=30)[0]
    assert second.returncode == 1


@pytest.mark.timeout(180)
@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stops_and_leaves_no_process(started, number):
    process, said, family, port = started
    assert f"http://127.0.0.1:{port}/pools/" in said
    names = {" ".join(command_line(member)) for member in family}
    for part in (
        "gunicorn --worker",
        "uvicorn poolsite.asgi:application",
        "poolmgr.console:application",
        "celery -A poolsite worker",
        "celery -A poolsite beat",
        "poolsite.demo.traffic",
    ):
        assert [name for name in names if part in name], f"{part} is not among {names}"
    process.send_signal(number)
    process.wait(30)
    alive = psutil.wait_procs(family, timeout=5)[1]
    assert not alive


@pytest.mark.timeout(180)
@pytest.mark.long
def test_second_start_prints_the_same_password(directory, started):
    _process, said, _family, _port = started
    password = (directory / "operator.password").read_text().strip()
    assert re.search(rf"Password +{re.escape(password)}$", said, re.MULTILINE)
    assert (directory / "operator.password").stat().st_mode & 0o077 == 0
    assert (directory / "secret-key").stat().st_mode & 0o077 == 0


def command_line(process):
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:  # as PostgreSQL's own processes come and go
        return []


@pytest.mark.timeout(180)
@pytest.mark.long
def test_stops_when_a_part_of_it_ends(directory, started):
    process, _said, family, _port = started
    [beat] = [member for member in family if "beat" in command_line(member)]
    beat.kill()
    rest = process.stdout.read()
    assert process.wait(30) == 1
    assert "Celery beat ended with status -9: the demo stops." in rest
    # Its banner has scrolled away by then where the start took long.
    [*_before, last] = (directory / "logs" / "celery-beat.log").read_text().splitlines()
    assert last.rstrip()[:300] in rest
    assert not psutil.wait_procs(family, timeout=20)[1]


@pytest.mark.long
def test_taken_port_is_one_line(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        said, _ = (process := demo(tmp_path, "--port", str(port))).communicate(timeout=30)
    assert said == f"demo: port {port} is taken: stop the program that listens there, or use --port N.\n"
    assert process.returncode == 1


@pytest.mark.long
@pytest.mark.parametrize("place", first_always("file", "file/below", "/proc/nowhere"))
def test_a_directory_that_can_not_be_used_is_one_line(tmp_path, place):
    (tmp_path / "file").touch()
    directory = tmp_path / place
    said, _ = (process := demo(directory, "--port", str(free_port()))).communicate(timeout=30)
    [line] = said.splitlines()
    assert line.startswith(f"demo: the data can't be kept in {directory} (")
    assert line.endswith("): give --directory a directory that you may write to.")
    assert process.returncode == 1


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (
            "DATABASE_URL",
            "postgresql://user:hunter2@127.0.0.1:1/site",
            "DATABASE_URL names a server that can't be used",
        ),
        ("REDIS_URL", "redis://:hunter2@127.0.0.1:1/0", "REDIS_URL names a server that can't be used"),
        ("DATABASE_URL", "mysql://user:hunter2@127.0.0.1/site", "DATABASE_URL starts with mysql://"),
        ("REDIS_URL", "http://:hunter2@127.0.0.1", "REDIS_URL starts with http://"),
    ],
)
def test_servers_of_ones_own_that_do_not_work(unused, monkeypatch, name, value, said):
    monkeypatch.setitem(ENVIRONMENT, name, value)
    process = demo(unused, "--port", str(free_port()))
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 1
    *_before, last = output.splitlines()
    assert last.startswith("demo: ")
    assert said in last
    assert "hunter2" not in output
    assert "Traceback" not in output
