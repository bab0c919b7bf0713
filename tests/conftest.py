"""Fixtures that hand out the real servers."""

import gc
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.signals import setting_changed
from django.dispatch import receiver

from poolsite.demo.servers import EmbeddedPostgres, EmbeddedRedis

from . import servers as running
from .bouncer import PROGRAMS, Bouncer

pytest_plugins = ["tests.rules"]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that runs the tests in the background has them, and all that they start, ignore what some tests send.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    # What is there by now stays: every collection of garbage in a test would look through all tests and libraries again.
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    running.stop_servers()
    running.remove_template()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Who begins has a connection that works, and pools that follow the settings, in whatever state others have left them."""
    from django.db import connections

    from .agents import without_agent

    without_agent()

    for each in connections.all(initialized_only=True):
        if each.connection is not None and getattr(each.connection, "closed", False) and not each.in_atomic_block:
            each.close()


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> None:
    """Without the agent that begins with the first pool: it would be there in whichever test comes next."""
    from .agents import without_agent

    with django_db_blocker.unblock():
        without_agent()


@receiver(setting_changed)
def _forget_the_filter(setting: str, **kwargs: Any) -> None:
    # Django's own receivers leave it as the first page of an error had it.
    if setting == "DEFAULT_EXCEPTION_REPORTER_FILTER":
        from django.views.debug import get_default_exception_reporter_filter

        get_default_exception_reporter_filter.cache_clear()


@pytest.fixture(autouse=True)
def _nothing_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page shows what the test has just made so, and not what it read for another page in the same second."""
    monkeypatch.setattr("poolmgr.dashboard.reading.shared.SECONDS", 0.0)


@pytest.fixture(scope="session")
def postgres() -> EmbeddedPostgres:
    """The run's server. Leave it as you found it; to stop, fill or freeze one, take `make_postgres`."""
    return running.servers().postgres


@pytest.fixture(scope="session")
def redis_server() -> EmbeddedRedis:
    """The run's Redis. To stop or freeze one, take `make_redis`."""
    return running.servers().redis


@pytest.fixture
def make_postgres() -> Iterator[Callable[..., EmbeddedPostgres]]:
    """Start a server of the test's own: make_postgres(max_connections=10)."""
    directory = running.scratch_directory()
    made: list[EmbeddedPostgres] = []

    def make(**settings: object) -> EmbeddedPostgres:
        server = running.new_postgres(directory / f"postgres{len(made)}", **settings)
        made.append(server)
        return server.start()

    yield make
    for server in made:
        server.destroy()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def make_redis() -> Iterator[Callable[[], EmbeddedRedis]]:
    """Start a Redis of the test's own."""
    directory = running.scratch_directory()
    made: list[EmbeddedRedis] = []

    def make() -> EmbeddedRedis:
        made.append(EmbeddedRedis(directory / f"redis{len(made)}"))
        return made[-1].start()

    yield make
    for server in made:
        server.stop()
    shutil.rmtree(directory, ignore_errors=True)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "bouncer_program" in metafunc.fixturenames:
        dear = () if metafunc.definition.get_closest_marker("every_pgbouncer") else (pytest.mark.long,)
        given = [
            pytest.param(path, id=name, marks=dear if n else ()) for n, (name, path) in enumerate(PROGRAMS.items())
        ]
        metafunc.parametrize("bouncer_program", given or [pytest.param("", id="none")], indirect=True, scope="module")


@pytest.fixture(scope="module")
def bouncer_program(request: pytest.FixtureRequest) -> str:
    """The path of a PgBouncer, of the system's or of one that is unpacked beside it."""
    if not request.param:
        pytest.skip("needs PgBouncer: apt install pgbouncer")
    return str(request.param)


@pytest.fixture(scope="module")
def make_bouncer(
    request: pytest.FixtureRequest, bouncer_program: str, postgres: EmbeddedPostgres
) -> Iterator[Callable[..., Bouncer]]:
    """Start a PgBouncer for a module: make_bouncer({"app": "pool_size=3"}, max_client_conn=5)."""
    directory = running.scratch_directory()
    module = request.module.__name__.rpartition(".")[2]
    name = next(name for name, path in PROGRAMS.items() if path == bouncer_program)
    made: list[Bouncer] = []

    def make(databases: dict[str, str] | None = None, **settings: object) -> Bouncer:
        url = str(postgres.create_database(f"{module}_{name}_{len(made)}"))
        made.append(Bouncer(bouncer_program, directory / f"bouncer{len(made)}", url, databases, **settings))
        return made[-1]

    yield make
    for each in made:
        each.stop()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def site_environment(transactional_db: None, postgres: EmbeddedPostgres) -> dict[str, str]:
    """The environment for a process of the site (gunicorn, celery, manage.py) that shares this test's database."""
    from django.conf import settings

    name = str(settings.DATABASES["default"]["NAME"])
    return {**os.environ, "DJANGO_SETTINGS_MODULE": "poolsite.settings", "DATABASE_URL": postgres.url(name)}


@pytest.fixture(scope="session")
def outage_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A migrated server with few slots, for `outage_site` to take away."""
    from .integration.outages import OutageSite

    directory = running.scratch_directory()
    server = running.new_postgres(directory / "postgres", max_connections=20).start()
    OutageSite(server, None, tmp_path_factory.mktemp("outages")).prepare()
    yield server
    server.destroy()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def outage_site(outage_server: EmbeddedPostgres, redis_server: EmbeddedRedis, tmp_path: Path) -> Iterator[Any]:
    """A site whose database may be stopped, filled and frozen under its processes."""
    from .integration.outages import OutageSite

    site = OutageSite(outage_server, redis_server, tmp_path)
    with site.stack:
        yield site
