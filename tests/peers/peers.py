"""Whose suites there are, and how each is run."""

from dataclasses import dataclass, field

#: What our package can't be imported without.
OURS = ("Django", "msgspec", "psycopg", "psycopg-binary", "psycopg-pool")
PYTEST = ("pytest", "pytest-timeout")


@dataclass(frozen=True)
class Peer:
    """``project`` is its name on the package index, ``tests`` the files that look at its pools.

    ``needs`` is what they can't do without beside it; ``ours`` is the module that puts our classes in the place of theirs.
    """

    project: str
    repository: str
    needs: tuple[str, ...]
    ours: str
    tests: tuple[str, ...]
    #: Where its package is in its sources.
    folder: str = "."
    #: Whether its tests are in its source distribution, so that no checkout is needed.
    has_sdist: bool = True
    #: Variables of its environment and arguments of pytest. In both {redis} is a Redis's port, {postgresql} a database's URL
    #: from the user on, and {host}, {port} and {user} are its parts.
    environment: dict[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    #: Addresses that the suite takes for a Redis's or a Sentinel's.
    redis_ports: tuple[int, ...] = ()
    sentinel_ports: tuple[int, ...] = ()
    redis_paths: tuple[str, ...] = ()
    on_postgresql: bool = False
    #: By Django's own runner, and not by pytest; how ours come in stands in its settings then.
    by_django: bool = False
    #: Each has a run of its own: the tests with such a part in the brackets of their names, and those with none.
    parts: tuple[str, ...] = ()


_SETTINGS = "gzip herd json lz4 msgpack sentinel sentinel_opts sharding usock zlib zstd".split()

PEERS = {
    "redis-py": Peer(
        project="redis",
        repository="https://github.com/redis/redis-py",
        needs=("pytest-asyncio", "packaging", "numpy"),
        ours="ours_redis",
        tests=(
            "tests/test_connection_pool.py",
            "tests/test_max_connections_error.py",
            "tests/test_lock.py",
            "tests/test_monitor.py",
            "tests/test_multiprocessing.py",
            "tests/test_pipeline.py",
            "tests/test_pubsub.py",
            "tests/test_asyncio/test_connection_pool.py",
            "tests/test_asyncio/test_lock.py",
            "tests/test_asyncio/test_monitor.py",
            "tests/test_asyncio/test_pipeline.py",
            "tests/test_asyncio/test_pubsub.py",
        ),
        arguments=("--redis-url=redis://localhost:{redis}/0", "--timeout=30"),
        redis_ports=(6379,),
    ),
    "django-redis": Peer(
        project="django-redis",
        repository="https://github.com/jazzband/django-redis",
        needs=("redis", "pytest-cov", "pytest-mock", "pytest-xdist", "msgpack", "lz4", "pyzstd"),
        ours="ours_django_redis",
        tests=("tests",),
        redis_ports=(6379,),
        sentinel_ports=(26379,),
        environment={"DJANGO_SETTINGS_MODULE": "settings.sqlite"},
        arguments=("--no-cov", "--numprocesses=0"),
        redis_paths=("/tmp/redis.sock",),
        # Its settings: a process of Django has one set of them.
        parts=("sqlite", *(f"sqlite_{each}" for each in _SETTINGS)),
    ),
    "django-cache": Peer(
        project="Django",
        repository="https://github.com/django/django",
        needs=("redis",),
        ours="",
        tests=("cache.tests.RedisCacheTests",),
        by_django=True,
    ),
    "sqlalchemy": Peer(
        project="SQLAlchemy",
        repository="https://github.com/sqlalchemy/sqlalchemy",
        needs=("greenlet", "aiosqlite"),
        ours="ours_sqlalchemy",
        folder="lib",
        tests=(
            "test/engine/test_pool.py",
            "test/engine/test_logging.py",
            "test/engine/test_reconnect.py",
            "test/engine/test_transaction.py",
        ),
        arguments=("--dburi=postgresql+psycopg://{postgresql}", "--timeout=60"),
        on_postgresql=True,
    ),
    "asyncpg": Peer(
        project="asyncpg",
        repository="https://github.com/MagicStack/asyncpg",
        needs=(),
        ours="ours_asyncpg",
        # Its package is compiled: that of the environment is looked at, and not the sources beside the tests.
        folder="tests",
        tests=("tests/test_pool.py",),
        # A server that it takes as it is, so that it starts none.
        environment={"PYTHONSAFEPATH": "1", "PGHOST": "{host}", "PGPORT": "{port}", "PGUSER": "{user}"},
        arguments=("--timeout=60",),
        on_postgresql=True,
    ),
    "psycopg": Peer(
        project="psycopg",
        repository="https://github.com/psycopg/psycopg",
        needs=("psycopg-pool", "anyio"),
        ours="ours_psycopg",
        has_sdist=False,
        tests=("tests/pool/test_pool_async.py", "tests/pool/test_pool_common_async.py"),
        # Those of the pool that keeps nothing are not of ours.
        arguments=("--test-dsn=postgresql://{postgresql}", "--timeout=20", "-m", "not slow", "-k", "not Null"),
        on_postgresql=True,
    ),
    "django-async-backend": Peer(
        project="django-async-backend",
        repository="https://github.com/Arfey/django-async-backend",
        needs=("libcst",),
        ours="ours_async_django",
        has_sdist=False,
        # The package is that of the environment, and not the sources beside the tests.
        folder="tests",
        tests=("tests",),
        environment={"PYTHONSAFEPATH": "1", "PEER_DATABASE": "postgresql://{postgresql}"},
        arguments=("-p", "peer_async_django", "--timeout=60"),
        on_postgresql=True,
    ),
}
