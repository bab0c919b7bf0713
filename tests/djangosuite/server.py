"""The embedded server as Django's suite wants it: a superuser, every extension and every collation that it asks for."""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psycopg

from poolsite.demo.servers import EmbeddedPostgres

from ..servers import FAST, scratch_directory

#: Extensions that the suite creates and the wheel's server lacks. Each is replaced by a stub: enough for the migrations
#: of postgres_tests, so that its tests of arrays, ranges, aggregates and searches run. The tests that use an extension
#: itself fail on both pools then, and so tell nothing; `--server` names a server that has the real ones.
STUBS = {
    "bloom": "",
    "btree_gin": "",
    "btree_gist": "",
    "citext": "CREATE DOMAIN citext AS text;",
    "hstore": "CREATE DOMAIN hstore AS text;",
    "pg_trgm": "",
    "pgcrypto": "",
    "unaccent": "",
    "uuid-ossp": "",
}
#: The one of ICU's collations that the suite's models name; the wheel's server knows no ICU. Its order is not Swedish.
COLLATION = "CREATE COLLATION \"sv-x-icu\" (PROVIDER = builtin, LOCALE = 'C.UTF-8')"


@dataclass(frozen=True)
class Address:
    host: str
    port: int
    user: str
    password: str

    @classmethod
    def of(cls, url: str) -> "Address":
        parts = urlsplit(url)
        return cls(
            parts.hostname or "", parts.port or 5432, unquote(parts.username or ""), unquote(parts.password or "")
        )


@contextmanager
def server(url: str | None) -> Iterator[Address]:
    """The server at ``url``, or an embedded one for the length of the block."""
    if url:
        yield Address.of(url)
        return
    directory = scratch_directory()
    try:
        stubs = _write_stubs(directory / "stubs")
        settings = {**FAST, "extension_control_path": f"$system:{stubs}", "max_prepared_transactions": 10}
        postgres = EmbeddedPostgres(directory / "postgres", settings=settings).start()
        try:
            with psycopg.connect(postgres.superuser_url("template1"), autocommit=True) as connection:
                connection.execute(COLLATION)
            yield Address.of(postgres.superuser_url())
        finally:
            postgres.destroy()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _write_stubs(path: Path) -> Path:
    scripts = path / "extension"
    scripts.mkdir(parents=True)
    for name, script in STUBS.items():
        (scripts / f"{name}.control").write_text("default_version = '0'\n")
        (scripts / f"{name}--0.sql").write_text(script)
    return path


def database_names() -> tuple[str, str]:
    """Names of this run's own for `default` and `other`: two runs may share a server."""
    mark = uuid.uuid4().hex[:8]
    return f"django_{mark}", f"django_{mark}_other"
