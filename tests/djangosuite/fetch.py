"""Django's sdist, which has the tests in it, and a virtual environment for them that leaves the project's own alone."""

import contextlib
from pathlib import Path

from tests.sources import ROOT, FetchError, as_here, environment, install, unpacked

CACHE = ROOT / ".cache" / "django-suite"
#: What the suite can't do without; the rest of its requirements only un-skips tests.
DRIVER = ("msgspec", "psycopg", "psycopg-binary", "psycopg-pool")
WITHOUT_WHEELS = ("pywatchman",)


def django(version: str) -> Path:
    """The unpacked sdist of Django ``version``."""
    return unpacked("Django", version, CACHE)


def python_for(version: str, sources: Path) -> Path:
    """The Python of a virtual environment with what the suite of ``sources`` asks for, as far as there are wheels."""

    def fill(python: Path) -> None:
        print(f"installing what Django {version}'s suite needs", flush=True)
        # The driver that the project runs on, so that a difference is the backend's.
        install(python, as_here(DRIVER))
        lines = (sources / "tests" / "requirements" / "py3.txt").read_text().splitlines()
        wanted = [line for line in lines if line.strip() and not line.startswith(("#", *WITHOUT_WHEELS))]
        try:
            install(python, wanted)
        except FetchError:
            # One of them has no wheel for this machine: take what has.
            for requirement in wanted:
                with contextlib.suppress(FetchError):
                    install(python, [requirement])

    return environment(CACHE / f"venv-{version}", fill)
