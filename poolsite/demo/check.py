"""scripts/demo --check: the main job once, on servers of its own, with one line for each step and its time."""

import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path

from .expecting import Failed
from .main_job import MainJob, Step
from .processes import ProcessError, tail
from .site import Options, Site

# Nothing of this check outlives it: nothing is lost when the machine stops.
FAST: dict[str, object] = {"fsync": "off", "full_page_writes": "off"}


def check(with_pgbouncer: bool = False) -> int:
    """0 when every step came out right, else 1."""
    # Passable for others, because the server may run as another account; what is secret in it is not readable.
    directory = Path(tempfile.mkdtemp(prefix="poolmgr-check-"))
    directory.chmod(0o711)
    began = time.monotonic()
    options = Options(directory, port=None, postgres_settings=FAST, with_pgbouncer=with_pgbouncer)
    site = Site(options, say=lambda line: None)
    try:
        ok = _run(MainJob(site).steps(), site)
        ok = _step("everything stops, no process is left", site.stop_and_verify, site) and ok
    finally:
        site.stop()
        if site.postgres:
            site.postgres.destroy()
        if site.pgbouncer:
            site.pgbouncer.destroy()
        shutil.rmtree(directory, ignore_errors=True)
    print(f"self-check: {'ok' if ok else 'FAILED'} in {time.monotonic() - began:.1f} s")
    return 0 if ok else 1


def _run(steps: Iterable[Step], site: Site) -> bool:
    # Each step builds on the one before: the first failure ends the run.
    return all(_step(title, step, site) for title, step in steps)


def _step(title: str, step: Callable[[], list[str]], site: Site) -> bool:
    began = time.monotonic()
    try:
        details, error = step(), ""
    except (Failed, ProcessError, OSError) as failure:
        details, error = [], f"{failure}" or type(failure).__name__
    except Exception:
        details, error = [], traceback.format_exc()
    took = time.monotonic() - began
    print(f"{'FAIL' if error else 'ok  '} {took:6.2f} s  {title}")
    for line in details:
        print(f"                  {line}")
    if error:
        print(f"\n{error}", file=sys.stderr)
        _show_logs(site)
    return not error


def _show_logs(site: Site) -> None:
    """The directory goes with the check: what its logs said last is worth keeping."""
    for log in sorted(site.logs.glob("*.log")):
        print(f"\nThe end of {log.name}:\n{tail(log)}", file=sys.stderr, end="")
