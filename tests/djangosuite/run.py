"""The command: fetch, run ours, run the native pool, compare."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from poolsite.demo.processes import stop_on_signals
from tests.sources import FetchError, beside

from . import compare, fetch
from .compare import Outcome
from .server import Address, database_names, server

#: The modules of the suite that look closest at a database backend.
MODULES = (
    "backends transactions transaction_hooks db_utils select_for_update delete_regress test_utils servers async asgi"
    " postgres_tests get_or_create basic bulk_create raw_query prefetch_related multiple_database timezones handlers"
    " fixtures migrate_signals test_client cache"
).split()

NATIVE = {"ENGINE": "django.db.backends.postgresql", "OPTIONS": {"pool": True}}


class RunError(Exception):
    """The suite ended without a result; carries the end of what it said."""


@dataclass(frozen=True)
class Suite:
    """Django's suite of one version on one server."""

    sources: Path
    python: Path
    address: Address
    deatomic: bool
    log: Path | None = None

    def run(self, backend: dict[str, Any], modules: Sequence[str]) -> Outcome:
        with tempfile.TemporaryDirectory(prefix="django-suite-") as scratch, self._output() as output:
            path = beside(Path(scratch), Path(__file__).parent / "inside")
            given = {
                "databases": self._databases(backend),
                "deatomic": self.deatomic,
                "outcome": str(path / "outcome.json"),
            }
            subprocess.run(
                [self.python, "runtests.py", "--settings=suite_settings", "--parallel=1", "--noinput", *modules],
                cwd=self.sources / "tests",
                env={
                    **{name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "PG"))},
                    "PYTHONPATH": f"{self.sources}{os.pathsep}{path}",
                    "PYTHONDONTWRITEBYTECODE": "1",
                    "DJANGO_SUITE": json.dumps(given),
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
            outcome = path / "outcome.json"
            if not outcome.exists():
                output.seek(0)
                raise RunError("the suite ended without a result:\n" + "".join(output.readlines()[-40:]))
            return Outcome.read(outcome)

    @contextmanager
    def _output(self) -> Iterator[Any]:
        if self.log is None:
            with tempfile.TemporaryFile("w+") as output:
                yield output
        else:
            with self.log.open("a+") as output:
                yield output

    def _databases(self, backend: dict[str, Any]) -> dict[str, Any]:
        place = {
            "HOST": self.address.host,
            "PORT": str(self.address.port),
            "USER": self.address.user,
            "PASSWORD": self.address.password,
        }
        names = database_names()
        return {
            alias: {**backend, **place, "NAME": name} for alias, name in zip(("default", "other"), names, strict=True)
        }


def ours(mode: str) -> dict[str, Any]:
    return {"ENGINE": "poolmgr.backends.postgresql", "OPTIONS": {"pool": {"pool_mode": mode}}}


@cache
def natively(suite: Suite, modules: tuple[str, ...]) -> Outcome:
    """The native pool's outcome, which is the same for every mode of ours."""
    return suite.run(NATIVE, modules)


def judge(suite: Suite, mode: str, modules: Sequence[str], lazy: bool) -> bool:
    """Run ``modules`` in ``mode``, print what differs from the native pool, and say whether it is allowed."""
    outcome = suite.run(ours(mode), modules)
    print(f"{mode} mode: {outcome}", flush=True)
    expected = compare.EXPECTED if mode == "transaction" else {}
    if suspects := compare.beyond(outcome, None, expected):
        # Only what failed needs a second opinion, where time counts.
        native = natively(suite, tuple(compare.modules_of(suspects) if lazy else modules))
        print(f"native pool: {native}" + (" (only the modules with failures)" if lazy else ""), flush=True)
    elif lazy:
        native = None
        print("native pool: not asked, since nothing failed that is not expected", flush=True)
    else:
        native = natively(suite, tuple(modules))
        print(f"native pool: {native}", flush=True)
    for test in sorted(outcome.unsuccessful.keys() & expected.keys()):
        print(f"expected: {test}: {expected[test]}")
    found = compare.beyond(outcome, native, expected)
    for test, said in sorted(found.items()):
        print(f"\nfails with ours only: {test}\n{said}")
    # Without the transactions around them the tests see more, also of the native pool: the number is held, not the names.
    fewer = suite.deatomic and native is not None and len(outcome.unsuccessful) <= len(native.unsuccessful)
    allowed = fewer or not found
    print(f"{mode} mode: {'ok' if allowed else 'FAILED'}, {len(found)} beyond the native pool", flush=True)
    return allowed


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="scripts/django-suite", description=__doc__)
    parser.add_argument("modules", nargs="*", metavar="MODULES", help="of Django's suite; by default all of them")
    parser.add_argument(
        "--mode", choices=("session", "transaction"), action="append", help="default: session; may be given twice"
    )
    parser.add_argument("--deatomic", action="store_true", help="run TestCase without a transaction around each test")
    parser.add_argument("--django", metavar="VERSION", default=version("Django"), help="default: the one installed")
    parser.add_argument("--server", metavar="URL", help="a server of yours, as superuser; default: an embedded one")
    parser.add_argument("--log", type=Path, help="append the suite's own output to this file")
    parser.add_argument(
        "--ci",
        action="store_true",
        help="the modules closest to a backend, in both modes; the native pool where needed",
    )
    options = parser.parse_args(arguments)
    stop_on_signals()
    modes = ("session", "transaction") if options.ci else tuple(options.mode or ["session"])
    modules = options.modules or (MODULES if options.ci else [])
    try:
        sources = fetch.django(options.django)
        python = fetch.python_for(options.django, sources)
        with server(options.server) as address:
            suite = Suite(sources, python, address, options.deatomic, options.log)
            verdicts = [judge(suite, mode, modules, options.ci) for mode in modes]
            return 0 if all(verdicts) else 1
    except (FetchError, RunError) as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
