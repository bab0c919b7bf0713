"""One library's suite, to be run with our classes or without."""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zlib import crc32

from tests.djangosuite.compare import Outcome
from tests.peers.peers import OURS, PYTEST, Peer
from tests.peers.servers import Servers
from tests.peers.verdict import together
from tests.sources import ROOT, as_here, beside, environment, install, unpacked

CACHE = ROOT / ".cache" / "peer-suite"
#: What pytest exits with when all passed and when some failed; all else means that they were not run as they were asked to.
_JUDGED = frozenset({0, 1})


class RunError(Exception):
    """The suite ended without a result; carries the end of what it said."""


@dataclass(frozen=True)
class Suite:
    peer: Peer
    sources: Path
    python: Path
    servers: Servers
    log: Path | None = None

    def run(self, ours: bool, tests: Sequence[str]) -> Outcome:
        return together(self._run(ours, tests, part) for part in ("", *self.peer.parts))

    def _run(self, ours: bool, tests: Sequence[str], part: str) -> Outcome:
        with tempfile.TemporaryDirectory(prefix="peer-suite-") as scratch, self._output() as output:
            path = beside(Path(scratch), Path(__file__).parent / "inside")
            outcome = path / "outcome.json"
            plugins = ["peer_addresses", "peer_noting", *([self.peer.ours] if ours else [])]
            arguments = [each.format(redis=self.servers.redis) for each in self.peer.arguments]
            done = subprocess.run(
                [
                    *[self.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly"],
                    *[word for plugin in plugins for word in ("-p", plugin)],
                    *arguments,
                    *tests,
                ],
                cwd=self.sources,
                env=self._environment(path, outcome, part),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
            if done.returncode not in _JUDGED or not outcome.exists():
                output.seek(0)
                raise RunError("the suite ended without a result:\n" + "".join(output.readlines()[-40:]))
            return Outcome.read(outcome)

    def _environment(self, path: Path, outcome: Path, part: str) -> dict[str, str]:
        given = {
            "outcome": str(outcome),
            "ports": {
                **dict.fromkeys(self.peer.redis_ports, self.servers.redis),
                **dict.fromkeys(self.peer.sentinel_ports, self.servers.sentinel),
            },
            "paths": dict.fromkeys(self.peer.redis_paths, str(self.servers.redis_path)),
            "parts": self.peer.parts,
            "part": part or None,
        }
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "PG", "PYTEST_"))}
        return {
            **kept,
            "PYTHONPATH": os.pathsep.join([str(self.sources), str(path)]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PEER_SUITE": json.dumps(given),
        }

    @contextmanager
    def _output(self) -> Iterator[Any]:
        if self.log is None:
            with tempfile.TemporaryFile("w+") as output:
                yield output
        else:
            with self.log.open("a+") as output:
                yield output


def sources_of(peer: Peer) -> Path:
    """The sdist of the version that this project's environment has."""
    return unpacked(peer.project, version(peer.project), CACHE)


def python_for(name: str, peer: Peer) -> Path:
    """The Python of a virtual environment with what the suite needs and what ours does."""
    wanted = as_here([peer.project, *peer.needs, *PYTEST, *OURS])

    def fill(python: Path) -> None:
        print(f"installing what the suite of {name} needs", flush=True)
        install(python, wanted)

    return environment(CACHE / f"venv-{name}-{crc32(' '.join(wanted).encode()):08x}", fill)
