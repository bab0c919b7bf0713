"""What people install: the wheel out of the source distribution, in an environment that has nothing but what it asks for."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from email import message_from_string
from importlib.metadata import PathDistribution, distribution
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from django import VERSION as DJANGO
from packaging.requirements import Requirement

from poolsite.demo.servers import EmbeddedPostgres, EmbeddedRedis
from tests.sources import unpack

# Builds the package and makes environments.
pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]

#: What a site adds by itself: psycopg leaves the choice between its two implementations to it.
SITE = ["psycopg[binary]"]
REDIS_OF_THE_README = "redis://localhost:6379/0"

VISIT = """
import json
from django.contrib.auth.models import User
from django.contrib.staticfiles.finders import find
from django.test import Client
import poolmgr
client = Client()
stranger = client.get("/pools/", HTTP_HOST="localhost").status_code
client.force_login(User.objects.create_superuser("operator"))
pages = {path: client.get(path, HTTP_HOST="localhost").status_code for path in ("/pools/", "/admin/poolmgr/poolprofile/add/")}
print(json.dumps({
    "from": poolmgr.__file__, "stranger": stranger, "pages": pages, "script": find("poolmgr/dashboard.js"),
    "pool": type(poolmgr.pool()).__name__,
}))
"""


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("DJANGO_", "PYTHONPATH", "DATABASE_", "REDIS_"))}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**clean, **environment},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The source distribution, and the wheel made from it alone."""
    place = tmp_path_factory.mktemp("built")
    # A copy: a build leaves its own files in the tree.
    ignored = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "*.egg-info")
    shutil.copytree(ROOT, place / "tree", ignore=ignored)
    build = "import setuptools.build_meta as backend, sys; backend.build_{}(sys.argv[1])"
    run(sys.executable, "-c", build.format("sdist"), place, cwd=place / "tree")
    [source] = place.glob("*.tar.gz")
    unpack(source, place / "unpacked")
    [unpacked] = (place / "unpacked").iterdir()
    run(sys.executable, "-c", build.format("wheel"), place, cwd=unpacked)
    [wheel] = place.glob("*.whl")
    return source, wheel


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(built: tuple[Path, Path]) -> None:
    names = set(zipfile.ZipFile(built[1]).namelist())
    files = {path for path in (ROOT / "poolmgr").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    held = {name for name in names if ".dist-info/" not in name}
    assert held == {str(path.relative_to(ROOT)) for path in files}
    for kind in (".html", ".css", ".js", "py.typed", "migrations/0001_initial.py", "locale/de/LC_MESSAGES/django.mo"):
        assert [name for name in held if name.endswith(kind)], kind
    assert [name for name in names if name.endswith("licenses/LICENSE")]


def test_the_source_distribution_runs_what_the_readme_says(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[0]) as archive:
        files = {member.name.partition("/")[2]: member for member in archive.getmembers() if member.isfile()}
    text = (ROOT / "README.md").read_text()
    assert [link for link in re.findall(r"\]\(([\w./-]+)\)", text) if link not in files] == []
    for script in re.findall(r"^(scripts/\w+)", text, re.MULTILINE):
        assert files[script].mode & 0o100, script
    assert {"tests/conftest.py", "poolsite/settings.py", "requirements-dev.txt", "LICENSE", "SECURITY.md"} <= set(files)


def test_the_wheel_tells_what_people_look_for_before_they_adopt(built: tuple[Path, Path]) -> None:
    [path] = [name for name in zipfile.ZipFile(built[1]).namelist() if name.endswith(".dist-info/METADATA")]
    told = message_from_string(zipfile.ZipFile(built[1]).read(path).decode())
    assert told["License-Expression"] == "BSD-3-Clause"
    assert told["License-File"] == "LICENSE"
    assert told["Requires-Python"] == ">=3.11"
    assert told["Summary"]
    classifiers = set(told.get_all("Classifier", []))
    # What this very run shows to be so.
    python, django = "Programming Language :: Python :: {}.{}", "Framework :: Django :: {}.{}"
    assert {python.format(*sys.version_info), django.format(*DJANGO), "Framework :: Django"} <= classifiers
    assert [each for each in classifiers if each.startswith("Development Status :: ")]
    assert told.get_payload() == (ROOT / "README.md").read_text()


def test_the_readme_s_way_to_install_from_a_checkout_works(built: tuple[Path, Path], tmp_path: Path) -> None:
    [extras] = re.findall(
        r'^pip install "/path/to/the/checkout\[([\w,]+)\]"', (ROOT / "README.md").read_text(), re.MULTILINE
    )
    [checkout] = built[0].parent.glob("tree")
    # What it needs is here already; that its extras exist pip only warns of.
    offline = ("--no-deps", "--no-index", "--no-build-isolation", "--target", tmp_path / "installed")
    said = run(sys.executable, "-m", "pip", "install", *offline, f"{checkout}[{extras}]", cwd=tmp_path)
    assert "does not provide the extra" not in said
    [metadata] = (tmp_path / "installed").glob("poolmgr-*.dist-info")
    assert set(extras.split(",")) <= set(PathDistribution(metadata).metadata.get_all("Provides-Extra") or [])


def needed(requirements: list[str], extras: tuple[str, ...]) -> set[str]:
    """The names of the installed distributions that these requirements come to."""
    found: set[tuple[str, str]] = set()

    def add(text: str, extra: str) -> None:
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            return
        for wanted in {"", *requirement.extras}:
            if (requirement.name, wanted) not in found:
                found.add((requirement.name, wanted))
                for each in distribution(requirement.name).requires or []:
                    add(each, wanted)

    for text in requirements:
        for extra in ("", *extras):
            add(text, extra)
    return {name for name, _ in found}


@pytest.fixture
def site(built: tuple[Path, Path], tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """site("redis", …): a new environment with the wheel and what these extras need, and a new project in it."""

    def make(*extras: str) -> tuple[Path, Path]:
        # What the index would bring is here already: links to it take no time and no network.
        run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv", cwd=tmp_path)
        [packages] = (tmp_path / "venv").glob("lib/python*/site-packages")
        python = tmp_path / "venv" / "bin" / "python"
        pip = (sys.executable, "-m", "pip", "--python", python)
        run(*pip, "install", "--no-deps", "--no-index", "--quiet", built[1], cwd=tmp_path)
        [metadata] = packages.glob("poolmgr-*.dist-info")
        wanted = PathDistribution(metadata).requires or []
        for name in needed([*SITE, *wanted], extras):
            for file in distribution(name).files or []:
                if (top := file.parts[0]) not in ("..", "__pycache__") and not (packages / top).exists():
                    (packages / top).symlink_to(Path(str(distribution(name).locate_file(top))))
        run(*pip, "check", cwd=tmp_path)
        run(python, "-m", "django", "startproject", "mysite", tmp_path, cwd=tmp_path)
        return python, tmp_path

    return make


def follow_the_readme(project: Path, database: dict[str, Any], redis_url: str) -> None:
    text = (ROOT / "README.md").read_text()
    [snippet] = [block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "INSTALLED_APPS" in block]
    settings = [f"DATABASES = {{'default': {database!r}}}"]
    for line in snippet.splitlines():
        if line.startswith("urlpatterns"):
            with (project / "mysite" / "urls.py").open("a") as urls:
                urls.write(f"from django.urls import include\n{line}\n")
        elif REDIS_OF_THE_README not in line:
            settings.append(line)
        elif redis_url:
            settings.append(line.replace(REDIS_OF_THE_README, redis_url))
    with (project / "mysite" / "settings.py").open("a") as file:
        file.write("\n".join(settings) + "\n")


# Builds, an environment and half a dozen starts of Django: that takes as long as the machine lets it.
@pytest.mark.timeout(400)
@pytest.mark.parametrize("extras", [(), ("redis", "celery")], ids=["bare", "extras"])
def test_a_new_site_follows_the_readme_with_the_wheel_alone(
    site: Callable[..., tuple[Path, Path]],
    postgres: EmbeddedPostgres,
    redis_server: EmbeddedRedis,
    extras: tuple[str, ...],
) -> None:  # P1 P11
    python, project = site(*extras)
    url = urlsplit(postgres.create_database(f"packaged_{len(extras)}"))
    database = {
        "HOST": url.hostname, "PORT": url.port, "NAME": url.path[1:], "USER": url.username, "PASSWORD": unquote(url.password or ""),
    }  # fmt: skip
    follow_the_readme(project, database, redis_server.url(3) if extras else "")
    assert "Applying poolmgr.0001_initial... OK" in run(python, "manage.py", "migrate", cwd=project)
    assert "no issues" in run(python, "manage.py", "check", cwd=project)
    told = json.loads(run(python, "manage.py", "shell", "-c", VISIT, cwd=project).splitlines()[-1])
    assert told["from"].startswith(str(project))
    assert told["script"].startswith(str(project))
    assert (told["stranger"], set(told["pages"].values())) == (302, {200})
    assert told["pool"] == "ManagedPool"
    assert "OK: " in run(python, "manage.py", "poolcheck", cwd=project)
