"""The demo's PgBouncer: where there is none a sentence says so, and the site's settings declare one that is there."""

import subprocess
import sys
from pathlib import Path

import pytest

from poolsite.demo import pgbouncer
from poolsite.demo.processes import ProcessError
from poolsite.demo.site import Options, Site

ROOT = Path(__file__).parents[2]


def test_without_one_the_demo_says_so_before_it_starts_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pgbouncer, "PROGRAMS", ("no-such-pgbouncer",))
    with Site(Options(tmp_path, port=None, with_pgbouncer=True), say=print) as site:
        with pytest.raises(ProcessError, match="--with-pgbouncer needs PgBouncer, and none is installed"):
            site.start_servers()
        assert site.postgres is None


@pytest.mark.long
@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://boss:geheim@127.0.0.1:6432/pgbouncer", "'bouncer')"),
        ("", "'broker')"),
        ("redis://:geheim@127.0.0.1", "PGBOUNCER_URL starts with redis://. Allowed: postgresql://"),
    ],
)
def test_the_settings_declare_the_one_that_the_environment_names(
    url: str, told: str, site_environment: dict[str, str]
) -> None:
    program = "import django; django.setup(); from poolmgr.targets.known import known_targets; print(known_targets())"
    environment = {**site_environment, "SECRET_KEY": "x" * 40, "PGBOUNCER_URL": url}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert told in done.stdout + done.stderr
    assert "geheim" not in done.stdout + done.stderr
