"""All measurements, side by side on one machine: python -m benchmarks.run [--quick] [--json] [--only NAME].

A full run takes about a quarter of an hour and writes RESULTS.md beside this file. A run that measures ``scaling`` and
``thousand``, and isn't quick, puts their figures into docs/scaling.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import django
import psycopg

from benchmarks import servers
from benchmarks.report import Measurement
from poolsite.demo.processes import stop_on_signals

NAMES = (
    "cost",
    "telemetry",
    "uses",
    "hold",
    "spike",
    "contention",
    "search",
    "sharing",
    "caches",
    "engines",
    "async_engines",
    "asyncpg_pools",
    "async_psycopg",
    "retrieval",
    "console",
    "watching",
    "history",
    "scaling",
    "thousand",
    "modes",
)
MODES = ("session", "transaction", "statement")
RESULTS = Path(__file__).with_name("RESULTS.md")
#: The documents that show figures, between two marks, and those that each shows.
DOCUMENTS = {"scaling.md": ("scaling", "thousand"), "modes.md": ("modes",)}
BEGINS, ENDS = "<!-- figures: scripts/bench writes them -->", "<!-- end of figures -->"
PACKAGES = (
    "Django",
    "psycopg",
    "psycopg-pool",
    "django-pg-real-pool",
    "django-db-connection-pool",
    "SQLAlchemy",
    "asyncpg",
    "redis",
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print the figures as JSON instead of tables")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds, to see that it works")
    parser.add_argument("--only", choices=NAMES, action="append", help="measure only this (may be repeated)")
    given = parser.parse_args()
    stop_on_signals()
    load = os.getloadavg()
    with ExitStack() as stack:
        world = World(stack, given.quick)
        found = {name: _measure(name, world) for name in given.only or NAMES}
        about = machine(world, load)
    whole = not (given.only or given.quick)
    if given.json:
        print(json.dumps({"about": about, **{name: each.plain() for name, each in found.items()}}, indent=2))
    else:
        print(_markdown(about, found))
    if whole:
        RESULTS.write_text(_markdown(about, found))
    for document, shown in DOCUMENTS.items():
        if not given.quick and found.keys() >= {*shown}:
            _show(RESULTS.parents[1] / "docs" / document, about, [found[name] for name in shown])


class World:
    """The servers, and how thorough to be."""

    def __init__(self, stack: ExitStack, quick: bool) -> None:
        self.quick = quick
        self.directory = Path(tempfile.mkdtemp(prefix="poolmgr-bench-"))
        # The servers' own account passes through it.
        self.directory.chmod(0o711)
        stack.callback(shutil.rmtree, self.directory, ignore_errors=True)
        self.postgres = servers.start_postgres(self.directory)
        stack.callback(self.postgres.destroy)
        self.url = self.postgres.create_database("bench")
        self.bouncer = None
        if servers.find_pgbouncer():
            self.bouncer = servers.PgBouncer(self.directory / "pgbouncer", self.url, (4, 8, 10), MODES)
            stack.callback(self.bouncer.stop)
        set_up_django(self.url)
        from django.db import connections

        from poolmgr.control import agent
        from poolmgr.pools import registry

        stack.callback(registry.close_all)
        stack.callback(agent.stop)
        stack.callback(connections.close_all)

    def only_here(self, contenders: list[Any]) -> list[Any]:
        """Those that can run on this machine."""
        return [each for each in contenders if self.bouncer or not each.bouncer]

    def url_for(self, contender: Any, size: int) -> str:
        return self.bouncer.for_size(size) if self.bouncer and contender.bouncer else self.url


def set_up_django(url: str) -> None:
    """The demo's own settings: poolmgr installed and migrated, its agent at work, as on any site."""
    os.environ.update(
        DJANGO_SETTINGS_MODULE="poolsite.settings",
        SECRET_KEY="only-for-benchmarks-only-for-benchmarks",
        DATABASE_URL=url,
        HTTPS="0",
        LOG_LEVEL="WARNING",
    )
    os.environ.pop("REDIS_URL", None)
    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)


def _measure(name: str, world: World) -> Measurement:
    print(f"measuring {name}…", file=sys.stderr, flush=True)
    # Imported late: its module needs Django set up.
    from importlib import import_module

    measured: Measurement = import_module(f"benchmarks.{name}").measure(world)
    return measured


def machine(world: World, load: tuple[float, float, float]) -> dict[str, str]:
    return {
        "command": " ".join(["scripts/bench", *sys.argv[1:]]),
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "load average at the start": " ".join(f"{each:.2f}" for each in load),
        "Python": platform.python_version(),
        "PostgreSQL": servers.server_version(world.url),
        "libpq": str(psycopg.pq.version()),
        "PgBouncer": servers.pgbouncer_version().removeprefix("PgBouncer "),
        **{package: version(package) for package in PACKAGES},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _show(document: Path, about: dict[str, str], found: list[Measurement]) -> None:
    """Put the figures into a document, in the place of those that it has."""
    before, _, rest = document.read_text().partition(BEGINS)
    _, ends, after = rest.partition(ENDS)
    if not ends:
        raise SystemExit(f"{document} has no place for figures, from {BEGINS} to {ENDS}")
    servers = f"PostgreSQL {about['PostgreSQL']}, PgBouncer {about['PgBouncer']}"
    machine = f"{about['processor']}, load average {about['load average at the start']}"
    origin = f"Of {about['date']}, by `{about['command']}`: {machine}; {servers}."
    figures = "\n\n".join([BEGINS, origin, *(each.markdown() for each in found), ENDS])
    document.write_text(before + figures + after)


def _markdown(about: dict[str, str], found: dict[str, Measurement]) -> str:
    lines = [f"- {name}: {f'`{value}`' if name == 'command' else value}" for name, value in about.items()]
    head = "# What a checkout costs, and what pools do under load"
    origin = (
        "Written by the command below; every figure is from that one run, but for a section that names a run of its own."
        " Figures of one machine: the ratios travel."
    )
    return "\n\n".join([head, origin, "\n".join(lines), *(each.markdown() for each in found.values())]) + "\n"


if __name__ == "__main__":
    main()
