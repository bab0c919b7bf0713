"""A site's processes, served as a deployment does it: gunicorn and uvicorn on a port of the loopback interface."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from poolsite.demo.ports import HOST, free_port
from poolsite.demo.processes import Child
from tests.waiting import until

ROOT = Path(__file__).parents[2]


def gunicorn(application: str, threads: int = 2, workers: int = 1) -> list[str]:
    worker = ("--worker-class", "gthread", "--threads", str(threads), "--workers", str(workers))
    return ["gunicorn", application, *worker, "--graceful-timeout", "1", "--no-control-socket", "--bind", "{address}"]


def uvicorn(application: str) -> list[str]:
    return ["uvicorn", application, "--host", HOST, "--port", "{port}", "--lifespan", "off"]


@contextmanager
def served(command: list[str], environment: dict[str, str], log: Path) -> Iterator[str]:
    """The address of a server that runs for the block, as soon as something listens there."""
    port = free_port()
    filled = [part.format(port=port, address=f"{HOST}:{port}") for part in command]
    child = Child(command[0], [sys.executable, "-m", *filled], log=log, env=environment, cwd=ROOT)
    address = f"http://{HOST}:{port}"
    try:
        until(lambda: _listens(address) or not child.running, f"{command[0]} to listen", 30)
        assert child.running, child.failed("it must serve.")
        yield address
    finally:
        child.stop(timeout=5)


def _listens(address: str) -> bool:
    try:
        # A static file: it costs no query.
        urllib.request.urlopen(f"{address}/static/poolmgr/dashboard.js", timeout=2).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True
