"""The command: fetch, run with our classes, run without, compare."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from poolsite.demo.processes import ProcessError, stop_on_signals
from tests.peers.djangocache import DjangoSuite
from tests.peers.peers import PEERS
from tests.peers.suite import RunError, Suite, python_for, sources_of
from tests.peers.verdict import ListError, Verdict, differing, judge
from tests.sources import FetchError


def tell(verdict: Verdict) -> None:
    for test, why in sorted(verdict.known.items()):
        print(f"differs: {test}: {why}")
    for test in verdict.stale:
        print(f"\nis listed and does not fail with ours alone: {test}")
    for test, said in sorted(verdict.unknown.items()):
        print(f"\nfails with ours only: {test}\n{said}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="scripts/peer-suite", description=__doc__)
    parser.add_argument("name", metavar="NAME", choices=sorted(PEERS), help=", ".join(PEERS))
    parser.add_argument(
        "path", nargs="?", type=Path, metavar="PATH", help="a checkout; default: the sdist of what is installed"
    )
    parser.add_argument(
        "--tests", nargs="+", metavar="TEST", help="files or names of its tests; default: those of pools"
    )
    parser.add_argument("--log", type=Path, help="append the suite's own output to this file")
    options = parser.parse_args(arguments)
    stop_on_signals()
    name, peer = options.name, PEERS[options.name]
    tests = options.tests or peer.tests
    try:
        listed = differing(name)
        sources = sources_of(peer) if options.path is None else options.path.absolute()
        python = python_for(name, peer)
        suite = (DjangoSuite if peer.by_django else Suite)(peer, sources, python, options.log)
        print(f"{name}, with ours: {(ours := suite.run(True, tests))}", flush=True)
        print(f"{name}, bare: {(bare := suite.run(False, tests))}", flush=True)
    except (FetchError, ListError, ProcessError, RunError) as error:
        print(error, file=sys.stderr)
        return 2
    verdict = judge(ours, bare, listed, whole=not options.tests)
    tell(verdict)
    print(
        f"{name}: {'ok' if verdict.passed else 'FAILED'}: {len(verdict.unknown)} fail with ours only, {len(verdict.known)}"
        f" differ as listed, {len(verdict.stale)} are listed and don't"
    )
    return 0 if verdict.passed else 1


if __name__ == "__main__":
    sys.exit(main())
