"""The source distributions of others, which have their tests in them, and environments for these that leave ours alone."""

import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


class FetchError(Exception):
    """Something can't be had from the package index; says what, and what pip said."""


def unpacked(project: str, number: str, cache: Path) -> Path:
    """The unpacked sdist of one version, below ``cache``."""
    place = cache / f"{project.lower()}-{number}"
    if not place.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            print(f"fetching the sources of {project} {number}", flush=True)
            wanted = f"{project}=={number}"
            _pip(Path(sys.executable), "download", "--no-deps", f"--no-binary={project}", f"--dest={scratch}", wanted)
            (archive,) = Path(scratch).glob("*.tar.gz")
            unpack(archive, Path(scratch))
            (folder,) = (path for path in Path(scratch).iterdir() if path.is_dir())
            # Renamed when whole: an interrupted download leaves nothing that looks like it.
            folder.rename(place)
    return place


def unpack(archive: Path, place: Path) -> None:
    with tarfile.open(archive) as tar:
        # Of Python 3.11 the releases before 3.11.4, as some systems have it, know no filters.
        if hasattr(tarfile, "data_filter"):
            tar.extractall(place, filter="data")
        else:
            tar.extractall(place)


def environment(place: Path, fill: Callable[[Path], object]) -> Path:
    """The Python of the virtual environment at ``place``, which ``fill`` has filled by its means."""
    place = place.with_name(f"{place.name}-python{sys.version_info.major}.{sys.version_info.minor}")
    python = place / "bin" / "python"
    done = place / ".complete"
    if not done.exists():
        shutil.rmtree(place, ignore_errors=True)
        venv.create(place, with_pip=True)
        fill(python)
        done.touch()
    return python


def install(python: Path, what: Iterable[str]) -> None:
    """Wheels alone. Raises ``FetchError``."""
    _pip(python, "install", "--only-binary=:all:", *what)


def as_here(names: Iterable[str]) -> list[str]:
    """Each in the version that this project's environment has, if it has one, so that a difference is not the version's."""

    def pinned(name: str) -> str:
        try:
            return f"{name}=={version(name)}"
        except PackageNotFoundError:
            return name

    return [pinned(name) for name in names]


def beside(scratch: Path, inside: Path) -> Path:
    """A directory to import from that holds our package and the files in ``inside``, and nothing else of this project.

    The project's root itself would put its `tests` and settings in their suite's way. A copy, because a whole suite takes
    long enough for somebody to edit a file meanwhile.
    """
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "poolmgr", scratch / "poolmgr", ignore=ignored)
    shutil.copytree(inside, scratch, ignore=ignored, dirs_exist_ok=True)
    return scratch


def _pip(python: Path, command: str, *arguments: str) -> None:
    call = [str(python), "-m", "pip", command, "--quiet", "--disable-pip-version-check", "--no-input", *arguments]
    done = subprocess.run(call, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise FetchError(f"pip {command} {' '.join(arguments)} failed:\n{done.stdout}")
