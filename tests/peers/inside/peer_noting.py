"""A plugin of pytest: what became of each test, written to the file that the parent names; and which to run."""

import json
import os
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

_given = json.loads(os.environ["PEER_SUITE"])
_began = time.monotonic()
_counts: Counter[str] = Counter()
_noted: dict[str, dict[str, str]] = {"failed": {}, "errors": {}}


#: SQLAlchemy adds to the names of classes which server of which version they are run on.
_SERVER = re.compile(r"_[a-z]+\+[a-z0-9]+(_\d+)+(?=::)")


def pytest_runtest_logreport(report: Any) -> None:
    if report.when == "setup":
        _counts["ran"] += not report.skipped
        _counts["skipped"] += report.skipped
    elif report.when == "call" and report.skipped:
        _counts["ran"] -= 1
        _counts["skipped"] += 1
    if report.failed:
        of = "failed" if report.when == "call" else "errors"
        _noted[of][_SERVER.sub("", report.nodeid)] = report.longreprtext


def pytest_collectreport(report: Any) -> None:
    if report.failed:
        _noted["errors"][report.nodeid] = report.longreprtext


def pytest_collection_modifyitems(config: Any, items: list[Any]) -> None:
    """Leave the tests whose name has the given part, of those that have one of these parts."""
    if not (parts := _given.get("parts")):
        return

    def part_of(item: Any) -> str | None:
        words = item.nodeid.partition("[")[2].rstrip("]").split("-")
        return next((part for part in parts if part in words), None)

    dropped = [item for item in items if part_of(item) != _given["part"]]
    items[:] = [item for item in items if part_of(item) == _given["part"]]
    config.hook.pytest_deselected(items=dropped)


def pytest_sessionfinish(session: Any) -> None:
    seconds = time.monotonic() - _began
    outcome = {"ran": _counts["ran"], "skipped": _counts["skipped"], "seconds": seconds, **_noted}
    Path(_given["outcome"]).write_text(json.dumps(outcome))
