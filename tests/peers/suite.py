"""One library's suite, to be run with our classes or without."""

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from zlib import crc32

from tests.djangosuite.compare import Outcome
from tests.djangosuite.fetch import CACHE as DJANGO
from tests.peers.peers import OURS, PYTEST, Peer
from tests.peers.servers import Servers, servers
from tests.peers.verdict import together
from tests.sources import ROOT, FetchError, as_here, beside, environment, install, unpacked

CACHE = ROOT / ".cache" / "peer-suite"
#: What pytest exits with when all passed and when some failed; all else means that they were not run as they were asked to.
_JUDGED = frozenset({0, 1})
#: The parts of a suite wait for most of their time.
_AT_ONCE = 6


class RunError(Exception):
    """The suite ended without a result; carries the end of what it said."""


@dataclass(frozen=True)
class Suite:
    peer: Peer
    sources: Path
    python: Path
    log: Path | None = None

    def run(self, ours: bool, tests: Sequence[str]) -> Outcome:
        """What became of ``tests``. Raises ``RunError``."""
        with ThreadPoolExecutor(_AT_ONCE) as side_by_side:
            return together(side_by_side.map(partial(self._run, ours, tests), ("", *self.peer.parts)))

    def _run(self, ours: bool, tests: Sequence[str], part: str) -> Outcome:
        plugins = ["peer_addresses", "peer_noting", *([self.peer.ours] if ours else [])]
        with tempfile.TemporaryDirectory(prefix="peer-suite-") as scratch, servers(self.peer) as running:
            path = beside(Path(scratch), Path(__file__).parent / "inside")
            outcome = path / "outcome.json"
            done = subprocess.run(
                [
                    *[self.python, "-m", "pytest", "-q", "--tb=native", "-o", f"cache_dir={scratch}/cache"],
                    *[word for plugin in plugins for word in ("-p", plugin)],
                    *map(running.put_into, self.peer.arguments),
                    *tests,
                ],
                cwd=self.sources,
                env=self._environment(running, path, outcome, part),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            if self.log is not None:
                with self.log.open("a") as log:
                    log.write(done.stdout)
            if done.returncode not in _JUDGED or not outcome.exists():
                raise RunError("the suite ended without a result:\n" + "\n".join(done.stdout.splitlines()[-40:]))
            return Outcome.read(outcome)

    def _environment(self, running: Servers, path: Path, outcome: Path, part: str) -> dict[str, str]:
        given = {
            "outcome": str(outcome),
            "ports": {
                **dict.fromkeys(self.peer.redis_ports, running.redis),
                **dict.fromkeys(self.peer.sentinel_ports, running.sentinel),
            },
            "paths": dict.fromkeys(self.peer.redis_paths, running.redis_path),
            "parts": self.peer.parts,
            "part": part or None,
        }
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "PG", "PYTEST_"))}
        return {
            **kept,
            **{name: running.put_into(value) for name, value in self.peer.environment.items()},
            "PGPASSFILE": running.passwords,
            "PYTHONPATH": os.pathsep.join([str(self.sources / self.peer.folder), str(path)]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PEER_SUITE": json.dumps(given),
        }


def sources_of(peer: Peer) -> Path:
    """The sdist of the version that this project's environment has. Raises ``FetchError`` where that has no tests."""
    if not peer.has_sdist:
        raise FetchError(
            f"{peer.project} has its tests in its repository alone: git clone {peer.repository}, and name its PATH"
        )
    return unpacked(peer.project, version(peer.project), DJANGO if peer.by_django else CACHE)


def python_for(name: str, peer: Peer) -> Path:
    """The Python of a virtual environment with what the suite needs and what ours does."""
    wanted = as_here([peer.project, *peer.needs, *PYTEST, *OURS])

    def fill(python: Path) -> None:
        print(f"installing what the suite of {name} needs", flush=True)
        install(python, wanted)

    return environment(CACHE / f"venv-{name}-{crc32(' '.join(wanted).encode()):08x}", fill)
