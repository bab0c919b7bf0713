"""Django's own tests of its Redis cache, by Django's own runner."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.djangosuite.compare import Outcome
from tests.peers.peers import Peer
from tests.peers.servers import servers
from tests.peers.suite import RunError
from tests.sources import ROOT, beside

_SQLITE = {"ENGINE": "django.db.backends.sqlite3"}


@dataclass(frozen=True)
class DjangoSuite:
    """As ``Suite``."""

    peer: Peer
    sources: Path
    python: Path
    log: Path | None = None

    def run(self, ours: bool, tests: Sequence[str]) -> Outcome:
        """What became of ``tests``. Raises ``RunError``."""
        with tempfile.TemporaryDirectory(prefix="peer-suite-") as scratch, servers(self.peer) as running:
            path = beside(Path(scratch), ROOT / "tests" / "djangosuite" / "inside")
            for each in ("peer_django_settings.py", "peer_django_runner.py"):
                shutil.copy(Path(__file__).parent / "inside" / each, path)
            outcome = path / "outcome.json"
            suite = {
                "databases": {"default": _SQLITE, "other": _SQLITE},
                "deatomic": False,
                "outcome": str(outcome),
            }
            done = subprocess.run(
                [self.python, "runtests.py", "--settings=peer_django_settings", "--parallel=1", "--noinput", *tests],
                cwd=self.sources / "tests",
                env={
                    **{name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "PG"))},
                    "PYTHONPATH": f"{self.sources}{os.pathsep}{path}",
                    "PYTHONDONTWRITEBYTECODE": "1",
                    "DJANGO_SUITE": json.dumps(suite),
                    "PEER_SUITE": json.dumps({"ours": ours, "redis": running.redis}),
                },
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            if self.log is not None:
                with self.log.open("a") as log:
                    log.write(done.stdout)
            if not outcome.exists():
                raise RunError("the suite ended without a result:\n" + "\n".join(done.stdout.splitlines()[-40:]))
            return Outcome.read(outcome)
