"""A password is planted in the settings, and searched for wherever a failure may carry it."""

import asyncio
import json
import logging
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import psycopg
import pytest
import redis
from asgiref.sync import sync_to_async
from django.core.exceptions import ImproperlyConfigured
from django.db import Error as DatabaseError
from django.db import connections
from django.db.backends.signals import connection_created
from django.test import Client
from psycopg import sql

from poolmgr import checks, tasks
from poolmgr.conf import conf
from poolmgr.control import agent
from poolmgr.control.reporting.health import check_target
from poolmgr.control.reporting.report import as_dict, make_report
from poolmgr.control.store import StoreDown, get_store
from poolmgr.control.store.redis import RedisStore
from poolmgr.exceptions import CheckoutError, ConfigurationError, PoolmgrError, ServerDown
from poolmgr.pools import registry
from poolmgr.pools.desired import Desired
from poolmgr.pools.lane import console_lane
from poolmgr.pools.spec import make_spec
from poolmgr.targets.postgresql.errors import PoolClosed, PoolExhausted, PoolPaused, TooManyWaiting
from poolmgr.targets.postgresql.managed import ManagedPool
from poolsite.demo.servers import EmbeddedPostgres, EmbeddedRedis
from tests.agents import without_agent
from tests.disclosure import disclosed_by_logs, disclosures
from tests.integration.console import person, signed_in
from tests.pools import wait_in_thread
from tests.proxy import Proxy
from tests.sampling import first_always, with_all

PLANTED = "planted-Pa55"
ALIAS = "planted"
KEEPER, LIMITED = "keeper", "limited"
FAILURES = (DatabaseError, psycopg.Error, PoolmgrError, ImproperlyConfigured, ArithmeticError)


@pytest.fixture(autouse=True)
def _no_agent(settings: Any, django_db_blocker: Any) -> Iterator[None]:
    settings.POOLMGR = {**settings.POOLMGR, "AGENT": False}
    without_agent()
    with django_db_blocker.unblock():
        yield


@pytest.fixture
def entry(postgres: EmbeddedPostgres) -> Iterator[dict[str, Any]]:
    """An entry of DATABASES with the planted password, which is right; it may be changed until it is used."""
    postgres.create_database("planted")
    with psycopg.connect(postgres.superuser_url(), autocommit=True) as console:
        for role, limit in ((KEEPER, -1), (LIMITED, 0)):
            made = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} CONNECTION LIMIT {}")
            console.execute(made.format(sql.Identifier(role), PLANTED, limit))
    connections.settings[ALIAS] = given = {
        **connections.settings["default"],
        "NAME": "planted",
        "USER": KEEPER,
        "PASSWORD": PLANTED,
        "PORT": str(postgres.port),
        "OPTIONS": {"connect_timeout": 3, "pool": {"min_size": 0, "max_size": 1, "timeout": 0.4}},
    }
    yield given
    with suppress(Exception):
        connections[ALIAS].close()
    registry.close(ALIAS)
    with suppress(AttributeError):
        del connections[ALIAS]
    del connections.settings[ALIAS]
    with psycopg.connect(postgres.superuser_url(), autocommit=True) as console:
        for role in (KEEPER, LIMITED):
            console.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


# -- where the password stands -----------------------------------------------------------------------------------------


def in_password(entry: dict[str, Any]) -> None:
    pass


def in_options(entry: dict[str, Any]) -> None:
    entry["OPTIONS"]["password"] = entry["PASSWORD"]
    entry["PASSWORD"] = ""


def in_conninfo(entry: dict[str, Any]) -> None:
    entry["OPTIONS"]["pool"]["conninfo"] = f"password={entry['PASSWORD']}"
    entry["PASSWORD"] = ""


def from_callable_conninfo(entry: dict[str, Any]) -> None:
    told = f"postgresql://:{entry['PASSWORD']}@/"
    entry["OPTIONS"]["pool"]["conninfo"] = lambda: told
    entry["PASSWORD"] = ""


def from_subclass(entry: dict[str, Any]) -> None:
    token = entry["PASSWORD"]
    entry.update(ENGINE="tests.rotating", PASSWORD="", TOKEN=lambda: token)


CREDENTIALS = [in_password, in_options, in_conninfo, from_callable_conninfo, from_subclass]

# -- what goes wrong ---------------------------------------------------------------------------------------------------

TROUBLES: dict[str, dict[str, Any]] = {
    "refused": {"USER": "poolmgr"},
    "down": {"PORT": "1"},
    "unresolvable": {"HOST": "nowhere.invalid"},
    "no database": {"NAME": "nothing"},
    "full": {"USER": LIMITED},
    "no TLS": {"sslmode": "require"},
    "no certificate": {"sslmode": "verify-full", "sslrootcert": "/nowhere/root.crt"},
    "unknown option": {"no_such_option": "1"},
    "unknown level": {"isolation_level": f"postgresql://keeper:{PLANTED}@h/d"},
    "no name": {"NAME": ""},
}


def trouble(entry: dict[str, Any], changes: dict[str, Any]) -> None:
    for name, value in changes.items():
        (entry if name.isupper() else entry["OPTIONS"])[name] = value


# -- who asks ----------------------------------------------------------------------------------------------------------


def ask() -> Any:
    try:
        with connections[ALIAS].cursor() as cursor:
            return cursor.execute("SELECT 1").fetchone()
    finally:
        connections[ALIAS].close()


def ask_on_console_lane() -> Any:
    with console_lane():
        return ask()


def ask_outside_of_the_pool() -> Any:
    with connections[ALIAS].unpooled():  # type: ignore[attr-defined]
        return ask()


def ask_by_psycopg_pool() -> Any:
    with connections[ALIAS].pool.connection() as conn:  # type: ignore[attr-defined]
        return conn.execute("SELECT 1").fetchone()


def ask_and_be_gone() -> Any:
    try:
        return ask()
    finally:
        del connections[ALIAS]


def ask_in_a_coroutine() -> Any:
    return asyncio.run(sync_to_async(ask_and_be_gone)())


def ask_in_another_thread_of_a_coroutine() -> Any:
    return asyncio.run(sync_to_async(ask_and_be_gone, thread_sensitive=False)())


POOLED = [ask, ask_by_psycopg_pool, ask_in_a_coroutine, ask_in_another_thread_of_a_coroutine]
DIRECT = [ask_on_console_lane, ask_outside_of_the_pool]


def assert_kept(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    assert disclosures(error, PLANTED) == []
    assert disclosed_by_logs(caplog.records, PLANTED) == []


#: Every trouble with every kind of credentials, and every way to ask with those that differ; always, every trouble, every kind
#: of credentials and every way.
ALWAYS = [(what, in_password, ask) for what in TROUBLES]
ALWAYS += [(what, from_subclass, ask_on_console_lane) for what in TROUBLES]
ALWAYS += [("refused", credentials, ask) for credentials in CREDENTIALS[1:]]
ALWAYS += [("refused", in_password, way) for way in (*POOLED[1:], *DIRECT)]
CASES = [(what, credentials, ask) for what in TROUBLES for credentials in CREDENTIALS]
CASES += [
    (what, credentials, way)
    for what in ("refused", "down")
    for credentials in (in_password, from_subclass)
    for way in (*POOLED[1:], *DIRECT)
]


@pytest.mark.parametrize(
    ("what", "credentials", "way"), [*ALWAYS, *with_all(*(case for case in CASES if case not in ALWAYS))]
)
def test_a_failed_connect_tells_no_password(  # P13
    entry: dict[str, Any],
    what: str,
    credentials: Callable[[dict[str, Any]], None],
    way: Callable[[], Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    credentials(entry)
    trouble(entry, TROUBLES[what])
    with pytest.raises(FAILURES) as caught:
        way()
    assert_kept(caught.value, caplog)
    if (managed := registry.get(ALIAS)) is not None:
        assert PLANTED not in repr(managed.snapshot())
        assert PLANTED not in repr([managed, managed.pool, vars(managed), vars(managed.pool)])
    check = check_target(ALIAS, timeout=3)
    assert PLANTED not in f"{check.message} {check.target}"
    assert disclosed_by_logs(caplog.records, PLANTED) == []


def hold_the_only_one(pool: ManagedPool, held: ExitStack) -> None:
    held.enter_context(pool.connection())


def let_one_wait(pool: ManagedPool, held: ExitStack) -> None:
    hold_the_only_one(pool, held)
    registry.set_desired({ALIAS: Desired(make_spec({**pool.spec.to_dict(), "max_waiting": 1}), "profile 1", 1)})
    held.callback(registry.set_desired, {})
    thread = wait_in_thread(pool, [], 1)
    held.callback(thread.join)


STATES: dict[type[CheckoutError], Callable[[ManagedPool, ExitStack], None]] = {
    PoolExhausted: hold_the_only_one,
    TooManyWaiting: let_one_wait,
    PoolPaused: lambda pool, held: pool.pause(),
    PoolClosed: lambda pool, held: pool.close(),
}


@pytest.mark.parametrize("kind", STATES)
@pytest.mark.parametrize("credentials", first_always(*CREDENTIALS))
def test_a_pool_that_lends_nothing_tells_no_password(  # P13
    entry: dict[str, Any],
    kind: type[CheckoutError],
    credentials: Callable[[dict[str, Any]], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    credentials(entry)
    assert ask() == (1,)
    pool = registry.get(ALIAS)
    assert pool is not None
    # What this thread handled before it came here is no context of the pool's.
    handled = sys.exception()
    with ExitStack() as held:
        STATES[kind](pool, held)
        with pytest.raises(kind) as caught:
            pool.checkout(0.3)
    assert type(caught.value) is kind
    assert caught.value.__context__ is handled
    assert_kept(caught.value, caplog)


@pytest.mark.parametrize("way", [ask, ask_on_console_lane])
def test_a_hook_that_fails_is_found_by_its_traceback_and_tells_no_password(  # P13
    entry: dict[str, Any], way: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    from_subclass(entry)

    def hook(connection: Any, **kwargs: Any) -> None:
        if connection.alias == ALIAS:
            raise ArithmeticError("the hook's own")

    connection_created.connect(hook)
    try:
        with pytest.raises(ArithmeticError, match="the hook's own") as caught:
            way()
    finally:
        connection_created.disconnect(hook)
    assert caught.traceback[-1].name == "hook"
    assert_kept(caught.value, caplog)


class Vault:
    """A site's own source of passwords, which holds one in its hands when it fails."""

    def token(self) -> str:
        password = PLANTED
        raise LookupError(f"no lease for password={password}")


@pytest.mark.parametrize("way", [ask, ask_on_console_lane])
def test_a_callable_that_fails_is_named_without_what_it_held(  # P13
    entry: dict[str, Any], way: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    from_subclass(entry)
    entry["TOKEN"] = Vault().token
    with pytest.raises((ServerDown, LookupError), match=r"no lease for password=\*\*\*") as caught:
        way()
    cause = caught.value.__cause__ or caught.value
    assert isinstance(cause, LookupError)
    [note] = cause.__notes__
    assert "test_secrets.py" in note
    assert "Vault.token" in note
    # The frames of a test count here: they are the site's.
    told = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "password=" not in told.replace("password=***", "")
    assert_kept(caught.value, caplog)


SPACED = f"postgresql://keeper:{PLANTED} and@more@127.0.0.1/planted"
WORDS = f"host=127.0.0.1 password={PLANTED}"


@pytest.mark.parametrize("text", [SPACED, WORDS])
@pytest.mark.parametrize(
    "place",
    [
        *("NAME", "USER", "HOST", "PORT", "CONN_MAX_AGE", "isolation_level", "pool", "pool's key", "max_size"),
        *("timeout", "pool_mode", "validation", "validation_query", "num_workers"),
    ],
)
def test_a_connection_string_in_a_wrong_place_is_refused_without_being_shown(  # P13
    entry: dict[str, Any], place: str, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    if place.isupper():
        entry[place] = text
    elif place == "pool's key":
        entry["OPTIONS"]["pool"][text] = 1
    elif place in ("pool", "isolation_level"):
        entry["OPTIONS"][place] = text
    else:
        entry["OPTIONS"]["pool"][place] = text
    for found in checks.check_databases():
        assert PLANTED not in f"{found.msg} {found.hint}"
    with pytest.raises((ImproperlyConfigured, TypeError, ValueError)) as caught:
        ask()
    assert_kept(caught.value, caplog)
    if place in ("NAME", "USER", "HOST", "PORT"):
        with pytest.raises(ImproperlyConfigured) as caught:
            ask_on_console_lane()
        assert_kept(caught.value, caplog)
    check = check_target(ALIAS, timeout=3)
    assert PLANTED not in f"{check.message} {check.target}"
    assert disclosed_by_logs(caplog.records, PLANTED) == []


# -- Redis, and the settings -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("password", ["wrong", "echoed"])
def test_a_redis_that_refuses_tells_no_password(  # P13
    make_redis: Callable[[], EmbeddedRedis], password: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server = make_redis()
    if password == "echoed":
        # It answers AUTH as a command that it doesn't know, and repeats what came with it.
        with redis.Redis.from_url(server.url()) as client:
            client.acl_setuser("echo", enabled=True, nopass=True, commands=["+@all", "-auth"], keys=["*"])
            client.acl_setuser("default", enabled=False)
    store = RedisStore(f"redis://:{PLANTED}@127.0.0.1:{server.port}/0")
    uses = (store.processes, store.notify, store.sweep, lambda: store.forget("a"), lambda: store.forget("b"))
    for use in uses:
        with pytest.raises(StoreDown) as caught:
            use()
        assert_kept(caught.value, caplog)
    assert PLANTED not in repr([store, vars(store)])
    store.close()


@pytest.mark.parametrize("place", ["127.0.0.1:1/0", "127.0.0.1:65536/0", "127.0.0.1/0?no_such=1", "[::1"])
def test_a_redis_that_can_t_be_reached_tells_no_password(place: str, caplog: pytest.LogCaptureFixture) -> None:  # P13
    caplog.set_level(logging.DEBUG)
    with pytest.raises((StoreDown, ConfigurationError)) as caught:
        RedisStore(f"redis://:{PLANTED}@{place}").processes()
    assert_kept(caught.value, caplog)


WRONG = [
    {"REDIS_URL": f"redis:{PLANTED}@127.0.0.1"},
    {"REDIS_URL": f"redis://:{PLANTED}@127.0.0.1/0?no_such=1"},
    {"REDIS_URL": f"redis://:{PLANTED}@127.0.0.1:port/0"},
    {"REDIS_ULR": f"redis://:{PLANTED}@127.0.0.1/0"},
    {f"redis://:{PLANTED}@127.0.0.1/0": True},
    {"NAMESPACE": f"redis://:{PLANTED}@127.0.0.1/0"},
    {"CONTROL_DATABASE": f"postgresql://keeper:{PLANTED}@127.0.0.1/planted"},
    {"REDIS_URL": f"redis://:{PLANTED}@127.0.0.1/0", "POLL_INTERVAL": "often"},
    {"METRICS_TOKEN": PLANTED},
    f"redis://:{PLANTED}@127.0.0.1/0",
]


@pytest.mark.parametrize("given", WRONG, ids=str)
def test_a_wrong_setting_tells_no_password(  # P13
    settings: Any, given: Any, caplog: pytest.LogCaptureFixture, client: Any
) -> None:
    caplog.set_level(logging.DEBUG)
    settings.POOLMGR = given
    with pytest.raises(ConfigurationError) as caught:
        get_store()
    assert_kept(caught.value, caplog)
    [found] = checks.check_setting()
    assert PLANTED not in f"{found.msg} {found.hint}"
    agent.start()
    assert disclosed_by_logs(caplog.records, PLANTED) == []
    if isinstance(given, dict):
        assert PLANTED not in repr(settings.POOLMGR)


def test_what_is_read_of_the_setting_shows_no_secret(settings: Any) -> None:  # P13
    settings.POOLMGR = {"REDIS_URL": f"redis://:{PLANTED}@127.0.0.1/0", "METRICS_TOKEN": PLANTED * 2}
    assert PLANTED in str(conf().REDIS_URL)
    assert PLANTED not in repr(conf())
    settings.POOLMGR = {"REDIS_URL": f"redis://:{PLANTED}@127.0.0.1/1"}
    assert PLANTED not in repr(settings.POOLMGR)


def test_the_debug_page_of_a_site_shows_no_password(entry: dict[str, Any], settings: Any) -> None:  # P13
    """Of one that configures no filter: neither in its settings nor in the locals of the frames."""
    settings.DEBUG = True
    settings.ROOT_URLCONF = "tests.integration.failing_urls"
    settings.POOLMGR = {**settings.POOLMGR, "REDIS_URL": f"redis://:{PLANTED}@127.0.0.1:1/0"}
    settings.DEFAULT_EXCEPTION_REPORTER_FILTER = "django.views.debug.SafeExceptionReporterFilter"
    in_conninfo(entry)
    entry["USER"] = "poolmgr"
    client = Client(raise_request_exception=False)
    for accept in ("text/html", "text/plain"):
        for page in ("/query/", "/store/"):
            answer = client.get(page, headers={"accept": accept})
            assert answer.status_code == 500
            text = answer.content.decode()
            assert "POOLMGR" in text
            assert {"/query/": "AuthenticationFailed", "/store/": "StoreDown"}[page] in text
            assert PLANTED not in text


def test_the_site_s_own_pages_show_no_url_with_a_password(settings: Any) -> None:  # P13
    """Names such as CELERY_BROKER_URL give nothing away, and development servers' requests carry the environment."""
    url = f"redis://:{PLANTED}@127.0.0.1:1/0"
    settings.DEBUG = True
    settings.ROOT_URLCONF = "tests.integration.failing_urls"
    settings.CELERY_BROKER_URL = url
    settings.CACHES = {**settings.CACHES, "other": {**settings.CACHES["default"], "LOCATION": [url]}}
    settings.POOLMGR = {**settings.POOLMGR, "REDIS_URL": url}
    client = Client(raise_request_exception=False, DATABASE_URL=url.replace("redis", "postgresql"), REDIS_URL=url)
    for accept in ("text/html", "text/plain"):
        text = client.get("/store/", headers={"accept": accept}).content.decode()
        assert "CELERY_BROKER_URL" in text
        assert "DATABASE_URL" in text
        assert PLANTED not in text


@pytest.mark.parametrize("task", ["check_target", "check_targets", "recycle", "tick", "sweep", "prune"])
def test_a_task_that_fails_tells_no_password(  # P13
    entry: dict[str, Any], settings: Any, task: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    in_options(entry)
    entry["USER"] = "poolmgr"
    settings.POOLMGR = {**settings.POOLMGR, "CONTROL_DATABASE": ALIAS, "REDIS_URL": f"redis://:{PLANTED}@127.0.0.1:1/0"}
    run = getattr(tasks, task)
    result = run.apply([ALIAS] if task in ("check_target", "recycle") else [])
    assert PLANTED not in f"{result.result!r} {result.traceback}"
    if isinstance(result.result, BaseException):
        assert disclosures(result.result, PLANTED) == []
        assert PLANTED not in repr(pickle.loads(pickle.dumps(result.result)))
    assert disclosed_by_logs(caplog.records, PLANTED) == []


def test_poolcheck_tells_no_password(entry: dict[str, Any], settings: Any) -> None:  # P13
    in_options(entry)
    entry["USER"] = "poolmgr"
    settings.POOLMGR = {**settings.POOLMGR, "CONTROL_DATABASE": ALIAS, "REDIS_URL": f"redis://:{PLANTED}@127.0.0.1:1/0"}
    report = make_report((ALIAS, f"postgresql://keeper:{PLANTED}@h/d"), timeout=3)
    assert report.verdict.state == "critical"
    assert PLANTED not in json.dumps(as_dict(report))
    assert PLANTED not in repr(report)


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.django_db(transaction=True)
def test_the_console_without_its_database_shows_no_password(  # P13
    entry: dict[str, Any], settings: Any, debug: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    in_options(entry)
    entry["USER"] = "poolmgr"
    url = f"redis://:{PLANTED}@127.0.0.1:1/0"
    client = signed_in(person("operator", superuser=True), raise_request_exception=False)
    settings.DEBUG = debug
    settings.POOLMGR = {**settings.POOLMGR, "CONTROL_DATABASE": ALIAS, "REDIS_URL": url}
    for page in (
        "/pools/",
        "/pools/fragment/",
        "/pools/api/v1/status",
        "/pools/metrics",
        "/admin/poolmgr/poolprofile/",
    ):
        answer = client.get(page)
        assert answer.content
        assert PLANTED not in answer.content.decode()
    assert disclosed_by_logs(caplog.records, PLANTED) == []


class TimeIsUp(BaseException):
    """As Celery's time limits and a worker's stop come: out of a signal's handler, wherever the code stands."""


def test_who_is_stopped_in_the_middle_of_a_connect_tells_no_password(  # P13
    entry: dict[str, Any], postgres: EmbeddedPostgres, caplog: pytest.LogCaptureFixture
) -> None:
    def stop(number: int, frame: Any) -> None:
        raise TimeIsUp

    proxy = Proxy(postgres.port)
    proxy.freeze()
    entry["PORT"] = proxy.port
    before = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        with pytest.raises(TimeIsUp) as caught:
            ask_on_console_lane()
    finally:
        signal.signal(signal.SIGALRM, before)
        proxy.thaw()
        proxy.close()
    assert_kept(caught.value, caplog)
