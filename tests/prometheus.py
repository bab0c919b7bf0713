"""A real Prometheus that scrapes one page, and its promtool; both are of the system's package."""

import json
import os
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from poolsite.demo.ports import HOST, free_port
from poolsite.demo.processes import Child
from tests.waiting import until

#: As often as a test can wait for; a site's own asks four times a minute.
_EVERY = "1s"


def program(name: str) -> str:
    """The path of ``prometheus`` or ``promtool``."""
    found = shutil.which(name)
    if found is None:
        pytest.skip("needs Prometheus: apt install prometheus")
    return found


def promtool(*arguments: str, stdin: str = "") -> str:
    """What it says, good and bad, where it found nothing wrong."""
    done = subprocess.run([program("promtool"), *arguments], input=stdin, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


class Prometheus:
    """``address`` is its own; it asks ``page``, a URL, with a bearer's token."""

    def __init__(self, address: str) -> None:
        self.address = address

    def series(self, query: str) -> list[Any]:
        """What a query gives now. Raises ``HTTPError`` for one that can't be read."""
        found: list[Any] = self.ask("query", query=query)["result"]
        return found

    def ask(self, what: str, **parameters: str) -> Any:
        url = f"{self.address}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]


@contextmanager
def scraping(page: str, token: str, rules: Path, directory: Path) -> Iterator[Prometheus]:
    """A server that asks ``page`` every second and evaluates ``rules``, from when its first scrape has come in."""
    target = urllib.parse.urlsplit(page)
    config = {
        "global": {"scrape_interval": _EVERY, "scrape_timeout": _EVERY, "evaluation_interval": _EVERY},
        "rule_files": [str(rules.resolve())],
        "scrape_configs": [
            {
                "job_name": "poolmgr",
                "metrics_path": target.path,
                "authorization": {"credentials": token},
                "static_configs": [{"targets": [target.netloc]}],
            }
        ],
    }
    # JSON is YAML too.
    (directory / "prometheus.yml").write_text(json.dumps(config))
    port = free_port()
    command = [
        program("prometheus"),
        f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address={HOST}:{port}",
        "--log.level=warn",
    ]
    child = Child("prometheus", command, log=directory / "prometheus.log", env={**os.environ}, cwd=directory)
    made = Prometheus(f"http://{HOST}:{port}")

    def has_scraped() -> bool:
        assert child.running, child.failed("it must scrape.")
        try:
            return bool(made.series('up{job="poolmgr"} == 1'))
        except OSError:
            return False

    try:
        until(has_scraped, "the first scrape", 30)
        yield made
    finally:
        child.stop()
