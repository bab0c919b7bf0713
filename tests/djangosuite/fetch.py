"""Django's sdist, which has the tests in it, and a virtual environment for them that leaves the project's own alone."""

import contextlib
import importlib.metadata
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "django-suite"
#: What the suite can't do without; the rest of its requirements only un-skips tests.
DRIVER = ("psycopg", "psycopg-binary", "psycopg-pool")
WITHOUT_WHEELS = ("pywatchman",)


class FetchError(Exception):
    """Something can't be had from the package index; says what, and what pip said."""


def django(version: str) -> Path:
    """The unpacked sdist of Django ``version``."""
    unpacked = CACHE / f"django-{version}"
    if not unpacked.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
            print(f"fetching the sources of Django {version}", flush=True)
            _pip(
                Path(sys.executable),
                "download",
                "--no-deps",
                "--no-binary=Django",
                f"--dest={scratch}",
                f"Django=={version}",
            )
            (archive,) = Path(scratch).glob("*.tar.gz")
            with tarfile.open(archive) as tar:
                tar.extractall(scratch, filter="data")
            (folder,) = (path for path in Path(scratch).iterdir() if path.is_dir())
            # Renamed when whole: an interrupted download leaves nothing that looks like Django.
            folder.rename(unpacked)
    return unpacked


def environment(version: str, sources: Path) -> Path:
    """The Python of a virtual environment with what the suite of ``sources`` asks for, as far as there are wheels."""
    place = CACHE / f"venv-{version}-python{sys.version_info.major}.{sys.version_info.minor}"
    python = place / "bin" / "python"
    done = place / ".complete"
    if not done.exists():
        print(f"installing what Django {version}'s suite needs", flush=True)
        shutil.rmtree(place, ignore_errors=True)
        venv.create(place, with_pip=True)
        # The driver that the project runs on, so that a difference is the backend's.
        _install(python, [f"{name}=={importlib.metadata.version(name)}" for name in DRIVER])
        lines = (sources / "tests" / "requirements" / "py3.txt").read_text().splitlines()
        wanted = [line for line in lines if line.strip() and not line.startswith(("#", *WITHOUT_WHEELS))]
        try:
            _install(python, wanted)
        except FetchError:
            # One of them has no wheel for this machine: take what has.
            for requirement in wanted:
                with contextlib.suppress(FetchError):
                    _install(python, [requirement])
        done.touch()
    return python


def _install(python: Path, what: list[str]) -> None:
    _pip(python, "install", "--only-binary=:all:", *what)


def _pip(python: Path, command: str, *arguments: str) -> None:
    call = [str(python), "-m", "pip", command, "--quiet", "--disable-pip-version-check", "--no-input", *arguments]
    done = subprocess.run(call, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise FetchError(f"pip {command} {' '.join(arguments)} failed:\n{done.stdout}")
