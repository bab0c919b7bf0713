"""A password is planted where each kind's settings have one, and searched for wherever a failure may carry it."""

import json
import logging
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from io import StringIO
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import psycopg
import pytest
import redis
import sqlalchemy
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from psycopg import sql

import poolmgr
import poolmgr.aio
from poolmgr import checks, tasks
from poolmgr.control.reporting.health import check_target
from poolmgr.control.reporting.report import as_dict, make_report
from poolmgr.control.store import get_store
from poolmgr.exceptions import CheckoutError
from poolmgr.models import PoolProfile
from poolmgr.pools import registry
from poolmgr.pools.lane import console_lane
from poolmgr.targets.known import address_of
from poolsite.demo.servers import EmbeddedPostgres, EmbeddedRedis
from tests.agents import command, without_agent
from tests.disclosure import disclosed_by_logs, disclosures
from tests.integration.console import beat, person, signed_in
from tests.kinds.async_subjects import Loop
from tests.kinds.broker_subject import Broker
from tests.proxy import Proxy

#: Not in the code, whose lines reporters show.
PLANTED = secrets.token_hex(12)
KEEPER = "keeper_of_kinds"
POOL = {"min_size": 0, "max_size": 1, "connection_timeout": 0.4}
FAILURES = (
    CheckoutError,
    redis.RedisError,
    sqlalchemy.exc.SQLAlchemyError,
    psycopg.Error,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    OSError,
    RuntimeError,
    ValueError,
    TypeError,
    AttributeError,  # asyncio's own, where Python 3.13.0 writes to a transport that has just closed
    ImproperlyConfigured,
)


@dataclass
class Place:
    """A target in the settings, whose URL a test may change until it is used, and what the site does with it.

    ``recover`` readies a connection that broke for its next use.
    """

    target: str
    url: str = field(repr=False)
    declare: Callable[[str], None]
    use: Callable[[], Any]
    hold: Callable[[], Any]
    ask: Callable[[Any], Any]
    give_back: Callable[[Any], Any]
    recover: Callable[[Any], Any] = lambda conn: None


@pytest.fixture
def accounts(postgres: EmbeddedPostgres, redis_server: EmbeddedRedis) -> Iterator[tuple[str, str]]:
    """The URLs of a Redis and a PostgreSQL, the password being right."""
    url = str(postgres.create_database("planted_kinds"))
    role = sql.Identifier(KEEPER)
    with (
        psycopg.connect(postgres.superuser_url(), autocommit=True) as console,
        redis.Redis.from_url(redis_server.url()) as client,
    ):
        console.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, PLANTED))
        client.acl_setuser(KEEPER, enabled=True, passwords=[f"+{PLANTED}"], commands=["+@all"], keys=["*"])
        where = url.rpartition("@")[2]
        yield (
            f"redis://{KEEPER}:{PLANTED}@127.0.0.1:{redis_server.port}/9",
            f"postgresql+psycopg://{KEEPER}:{PLANTED}@{where}",
        )
        client.acl_deluser(KEEPER)
        console.execute(sql.SQL("DROP ROLE {}").format(role))


@pytest.fixture(
    params=["cache", "django-redis", "redis", "redis-asyncio", "sqlalchemy", "sqlalchemy-asyncio", "asyncpg"]
)
def place(request: pytest.FixtureRequest, accounts: tuple[str, str], settings: Any) -> Iterator[Place]:
    settings.POOLMGR = {**settings.POOLMGR, "AGENT": False}
    without_agent()
    of_redis, of_postgresql = accounts
    loop = Loop() if request.param.endswith(("asyncio", "asyncpg")) else None
    if request.param in CACHES:
        made = _cache(settings, *CACHES[request.param], of_redis)
    elif request.param.startswith("redis"):
        made = Place("planted", of_redis, partial(_declare, settings, "redis"), **(_redis_of(loop) if loop else REDIS))
    elif loop is not None and request.param == "asyncpg":
        url = of_postgresql.replace("+psycopg:", ":")
        made = Place("planted", url, partial(_declare, settings, "asyncpg"), **_asyncpg_of(loop))
    elif loop is not None:
        url = of_postgresql.replace("+psycopg:", "+asyncpg:")
        made = Place("planted", url, partial(_declare, settings, "sqlalchemy"), **_sqlalchemy_of(loop))
    else:
        made = Place("planted", of_postgresql, partial(_declare, settings, "sqlalchemy"), **SQLALCHEMY)
    made.declare(made.url)
    yield made
    registry.set_desired({})
    registry.close(made.target)
    if loop is not None:
        loop.close()
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}


#: The backends, and what makes their pools ours.
CACHES: dict[str, tuple[str, dict[str, Any]]] = {
    "cache": (
        "django.core.cache.backends.redis.RedisCache",
        {"pool_class": "poolmgr.targets.redis.caches.CachePool"},
    ),
    "django-redis": (
        "django_redis.cache.RedisCache",
        {"CONNECTION_FACTORY": "poolmgr.targets.redis.django_redis.ConnectionFactory"},
    ),
}


def _cache(settings: Any, backend: str, options: dict[str, Any], url: str) -> Place:
    def declare(location: str) -> None:
        given = {"BACKEND": backend, "LOCATION": location, "OPTIONS": {**options, "POOL": POOL}}
        settings.CACHES = {**settings.CACHES, "planted": given}

    target = "cache:planted"
    return Place(
        target,
        url,
        declare,
        use=lambda: caches["planted"].get("key"),
        hold=lambda: poolmgr.pool(target).get_connection(),
        ask=_ping,
        give_back=lambda conn: poolmgr.pool(target).release(conn),
    )


def _declare(settings: Any, kind: str, url: str) -> None:
    given = {"KIND": kind, "URL": url, "POOL": POOL}
    settings.POOLMGR = {**settings.POOLMGR, "TARGETS": {"planted": given}}


def _ping(conn: Any) -> None:
    conn.send_command("PING")
    conn.read_response()


def _ask_engine() -> Any:
    with poolmgr.pool("planted").connect() as connection:
        return connection.exec_driver_sql("SELECT 1").scalar()


REDIS: dict[str, Callable[..., Any]] = {
    "use": lambda: redis.Redis(connection_pool=poolmgr.pool("planted")).get("key"),
    "hold": lambda: poolmgr.pool("planted").get_connection(),
    "ask": _ping,
    "give_back": lambda conn: poolmgr.pool("planted").release(conn),
}
SQLALCHEMY: dict[str, Callable[..., Any]] = {
    "use": _ask_engine,
    "hold": lambda: poolmgr.pool("planted").connect(),
    "ask": lambda conn: conn.exec_driver_sql("SELECT 1"),
    "give_back": lambda conn: conn.close(),
    "recover": lambda conn: conn.rollback(),
}


def _redis_of(loop: Loop) -> dict[str, Callable[..., Any]]:
    async def ask(conn: Any) -> None:
        await conn.send_command("PING")
        await conn.read_response()

    async def use() -> Any:
        return await redis.asyncio.Redis(connection_pool=poolmgr.aio.pool("planted")).get("key")

    return {
        "use": lambda: loop.do(use),
        "hold": lambda: loop.do(lambda: poolmgr.aio.pool("planted").get_connection()),
        "ask": lambda conn: loop.do(lambda: ask(conn)),
        "give_back": lambda conn: loop.do(lambda: poolmgr.aio.pool("planted").release(conn)),
    }


def _sqlalchemy_of(loop: Loop) -> dict[str, Callable[..., Any]]:
    async def use() -> Any:
        async with poolmgr.aio.pool("planted").connect() as conn:
            return (await conn.exec_driver_sql("SELECT 1")).scalar()

    async def hold() -> Any:
        return await poolmgr.aio.pool("planted").connect()

    return {
        "use": lambda: loop.do(use),
        "hold": lambda: loop.do(hold),
        "ask": lambda conn: loop.do(lambda: conn.exec_driver_sql("SELECT 1")),
        "give_back": lambda conn: loop.do(conn.close),
        "recover": lambda conn: loop.do(conn.rollback),
    }


def _asyncpg_of(loop: Loop) -> dict[str, Callable[..., Any]]:
    async def hold() -> Any:
        return await poolmgr.aio.pool("planted").acquire()

    return {
        "use": lambda: loop.do(lambda: poolmgr.aio.pool("planted").fetchval("SELECT 1")),
        "hold": lambda: loop.do(hold),
        "ask": lambda conn: loop.do(lambda: conn.fetchval("SELECT 1")),
        "give_back": lambda conn: loop.do(lambda: poolmgr.aio.pool("planted").release(conn)),
    }


def assert_kept(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    assert disclosures(error, PLANTED) == []
    assert disclosed_by_logs(caplog.records, PLANTED) == []


def on_console_lane(use: Callable[[], Any]) -> Any:
    with console_lane():
        return use()


TROUBLES: dict[str, Callable[[str], str]] = {
    "refused": lambda url: url.replace(PLANTED, f"{PLANTED}x"),
    "down": lambda url: f"{url.rpartition(':')[0]}:1/9",
    "unresolvable": lambda url: url.replace("127.0.0.1", "nowhere.invalid").replace("localhost", "nowhere.invalid"),
    "no database": lambda url: f"{url.rpartition('/')[0]}/99",
    "odd port": lambda url: f"{url.rpartition(':')[0]}:port/9",
    "unknown option": lambda url: f"{url}?no_such_option=1",
    "no TLS": lambda url: (
        url.replace("redis:", "rediss:")
        if url.startswith("redis:")
        else f"{url}?{'ssl' if 'asyncpg' in url else 'sslmode'}=require"
    ),
}


CASES = [(what, console) for what in TROUBLES for console in (False, True)]
#: Those of every run.
SHORT = [("refused", False), ("down", False), ("odd port", False), ("unknown option", False), ("refused", True)]


# django-redis raises the cause of its own error, which has that as its context.
@pytest.mark.filterwarnings("ignore:Cycle in the exception chain")
@pytest.mark.long
@pytest.mark.parametrize(
    ("what", "console"),
    [
        pytest.param(
            *case,
            id=f"{case[0]} {'on the console lane' if case[1] else 'pooled'}",
            marks=() if case in SHORT else [pytest.mark.long],
        )
        for case in CASES
    ],
)
def test_failed_connect_tells_no_password(  # P13
    place: Place, what: str, console: bool, caplog: pytest.LogCaptureFixture, transactional_db: None
) -> None:
    caplog.set_level(logging.DEBUG)
    place.declare(TROUBLES[what](place.url))
    with pytest.raises(FAILURES) as caught:
        on_console_lane(place.use) if console else place.use()
    assert_kept(caught.value, caplog)
    if (managed := registry.get(place.target)) is not None:
        assert PLANTED not in repr([managed, managed.snapshot(), vars(managed)])
    check = check_target(place.target, timeout=3)
    assert check.state != "ok"
    assert PLANTED not in f"{check.message} {check.target} {check!r}"
    assert PLANTED not in address_of(place.target)
    assert disclosed_by_logs(caplog.records, PLANTED) == []


def _hold(place: Place) -> Any:
    return place.hold()


def _pause(place: Place) -> Any:
    registry.get(place.target).pause()  # type: ignore[union-attr]


@pytest.mark.long
@pytest.mark.parametrize("state", [_hold, _pause], ids=["exhausted", "paused"])
def test_pool_that_lends_nothing_tells_no_password(  # P13
    place: Place, state: Callable[[Place], Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    place.use()
    held = state(place)
    with pytest.raises(CheckoutError) as caught:
        place.use()
    assert_kept(caught.value, caplog)
    if held is not None:
        place.give_back(held)


def _through(proxy: Proxy, url: str) -> str:
    head, _, tail = url.rpartition(":")
    return f"{head}:{proxy.port}/{tail.partition('/')[2]}"


@pytest.mark.long
def test_connection_that_breaks_in_use_tells_no_password(place: Place, caplog: pytest.LogCaptureFixture) -> None:  # P13
    caplog.set_level(logging.DEBUG)
    proxy = Proxy(urlsplit(place.url).port or 0)
    try:
        place.declare(_through(proxy, place.url))
        place.use()
        conn = place.hold()
        proxy.refuse()
        proxy.reset()
        with pytest.raises(FAILURES) as caught:
            place.ask(conn)
        assert_kept(caught.value, caplog)
        place.recover(conn)
        # It connects again in the borrower's hands, and that fails.
        with pytest.raises(FAILURES) as caught:
            place.ask(conn)
        assert_kept(caught.value, caplog)
        place.give_back(conn)
        with pytest.raises(FAILURES) as caught:
            place.use()
        assert_kept(caught.value, caplog)
    finally:
        proxy.close()


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
def test_pages_reports_and_tasks_show_no_password(  # P13
    place: Place, settings: Any, redis_server: EmbeddedRedis, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    settings.POOLMGR = {**settings.POOLMGR, "REDIS_URL": redis_server.url(), "NAMESPACE": f"p{secrets.token_hex(4)}"}
    place.declare(TROUBLES["refused"](place.url))
    with pytest.raises(FAILURES):
        place.use()
    profile = PoolProfile.objects.create(target=place.target, max_size=3, min_size=0)
    beat(registry.get(place.target).snapshot())  # type: ignore[union-attr]
    tasks.check_target.apply([place.target])
    client = signed_in(person("operator", superuser=True))
    pages = ["/pools/", "/pools/fragment/", "/pools/api/v1/status", "/pools/metrics", "/admin/poolmgr/poolprofile/"]
    pages += [f"/admin/poolmgr/poolprofile/{profile.pk}/change/", f"/admin/poolmgr/poolprofile/{profile.pk}/history/"]
    for page in [*pages, f"/admin/poolmgr/poolprofile/add/?target={place.target}"]:
        answer = client.get(page)
        assert answer.status_code == 200, page
        text = answer.content.decode()
        assert PLANTED not in text, page
        assert place.target in text, page
    report = make_report((place.target,), timeout=3)
    assert report.verdict.state == "critical"
    assert PLANTED not in json.dumps(as_dict(report)) + repr(report)
    out = StringIO()
    with suppress(SystemExit):
        command("poolcheck", place.target, stdout=out, stderr=out)
    assert place.target in out.getvalue()
    assert PLANTED not in out.getvalue()
    for found in checks.check_setting():
        assert PLANTED not in f"{found.msg} {found.hint} {found.obj}"
    assert PLANTED not in repr([each.pools for each in get_store().processes()])
    assert disclosed_by_logs(caplog.records, PLANTED) == []


def test_debug_page_of_a_site_without_a_filter_shows_no_password_of_a_declared_target(  # P13
    accounts: tuple[str, str], settings: Any
) -> None:
    settings.DEBUG = True
    settings.ROOT_URLCONF = "tests.integration.failing_urls"
    settings.DEFAULT_EXCEPTION_REPORTER_FILTER = "django.views.debug.SafeExceptionReporterFilter"
    targets = {
        name: {"KIND": kind, "URL": url}
        for name, kind, url in zip("rs", ("redis", "sqlalchemy"), accounts, strict=True)
    }
    settings.POOLMGR = {**settings.POOLMGR, "REDIS_URL": "redis://127.0.0.1:1/0", "TARGETS": targets}
    client = Client(raise_request_exception=False)
    for accept in ("text/html", "text/plain"):
        text = client.get("/store/", headers={"accept": accept}).content.decode()
        assert "TARGETS" in text
        assert PLANTED not in text


def test_thread_that_dies_with_a_connection_tells_no_password(  # P13
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    kept: list[Any] = []
    thread = threading.Thread(target=lambda: kept.append(place.hold()))
    thread.start()
    thread.join()
    with suppress(CheckoutError):
        place.use()
    registry.close(place.target)
    assert disclosed_by_logs(caplog.records, PLANTED) == []


def test_broker_s_pool_that_lends_nothing_tells_no_password(  # P13
    accounts: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    broker = Broker(accounts[0])
    broker.open(max_size=1, connection_timeout=0.3)
    with broker.borrowed() as conn:
        assert broker.use(conn)
        with pytest.raises(CheckoutError) as caught:
            broker.borrow()
        seen = broker.pool.snapshot()
    assert_kept(caught.value, caplog)
    assert PLANTED not in repr([broker.pool, seen, broker.pool.address])
    broker.close()


@pytest.mark.long
def test_broker_that_cannot_be_reached_tells_no_password(  # P13
    redis_server: EmbeddedRedis, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    proxy = Proxy(redis_server.port)
    broker = Broker(f"redis://:{PLANTED}@127.0.0.1:{proxy.port}/0")
    broker.open(max_size=1, connection_timeout=0.3)
    proxy.refuse()
    try:
        with pytest.raises(broker.breaks) as caught:
            broker.borrow()
        assert_kept(caught.value, caplog)
        assert broker.pool.snapshot().last_error == "nothing listens at the address"
    finally:
        broker.close()
        proxy.close()
