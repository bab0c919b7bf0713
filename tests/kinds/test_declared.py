"""Targets that POOLMGR["TARGETS"] declares, and the pools that the site's code is handed by name."""

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from django.core.checks import run_checks
from django.test import Client

import poolmgr
from poolmgr.conf import conf
from poolmgr.control.reporting.health import check_target
from poolmgr.exceptions import ConfigurationError
from poolmgr.pools import registry
from poolmgr.pools.desired import Desired
from poolmgr.secrets import Secret
from poolmgr.targets.known import address_of, bootstrap_spec, kind_of, known_targets
from poolmgr.targets.redis.kind import REDIS
from poolsite.demo.servers import EmbeddedRedis

PLANTED = "pl4nted-in-a-target"


@pytest.fixture
def vectors(settings: Any, redis_server: EmbeddedRedis) -> Iterator[str]:
    """A declared target's name."""
    declared = {"KIND": "redis", "URL": redis_server.url(7), "POOL": {"min_size": 0, "max_size": 3}}
    settings.POOLMGR = {**settings.POOLMGR, "AGENT": False, "TARGETS": {"vectors": declared}}
    yield "vectors"
    settings.POOLMGR = {"AGENT": False}
    registry.set_desired({})


@pytest.fixture
def cached(settings: Any, redis_server: EmbeddedRedis) -> Iterator[str]:
    settings.CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": redis_server.url(8),
            "OPTIONS": {"pool_class": "poolmgr.targets.redis.caches.CachePool", "POOL": {"min_size": 0}},
        },
        "local": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    }
    yield "cache:default"
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}


def test_a_declared_target_is_known_with_its_settings_and_without_its_secret(
    vectors: str, redis_server: EmbeddedRedis
) -> None:  # P13
    assert vectors in known_targets()
    assert kind_of(vectors) is REDIS
    assert bootstrap_spec(vectors) == REDIS.make_spec({"min_size": 0, "max_size": 3})
    assert address_of(vectors) == f"127.0.0.1:{redis_server.port}/7"


def test_site_code_is_handed_one_pool_of_a_declared_target_that_follows_its_profile(vectors: str) -> None:  # P5
    pool = poolmgr.pool(vectors)
    client = redis.Redis(connection_pool=pool)
    assert client.ping()
    assert poolmgr.pool(vectors) is pool
    managed = registry.get(vectors)
    assert managed is pool.managed.peers
    registry.set_desired({vectors: Desired(REDIS.make_spec({"max_size": 7, "min_size": 0}), "profile 1", 2)})
    seen = managed.snapshot()
    assert (seen.kind, seen.max_size, seen.profile, seen.checkouts) == ("redis", 7, "profile 1", 1)
    managed.pause()
    managed.resume()
    assert managed.recycle(10).replaced == 1
    assert client.ping()


def test_the_server_of_a_declared_target_is_checked(vectors: str, transactional_db: None) -> None:
    assert redis.Redis(connection_pool=poolmgr.pool(vectors)).ping()
    check = check_target(vectors)
    assert (check.state, check.ours) == ("ok", 1), check.message


def test_pools_are_handed_out_by_alias_cache_and_name(vectors: str, cached: str, transactional_db: None) -> None:
    assert poolmgr.pool() is registry.get("default")
    assert poolmgr.pool("default").kind == "postgresql"
    assert redis.Redis(connection_pool=poolmgr.pool(cached)).ping()
    assert poolmgr.pool(cached).managed.peers is registry.get(cached)
    assert poolmgr.pool(vectors).target == vectors


def test_an_unknown_name_is_told_with_those_that_there_are(vectors: str, cached: str) -> None:
    for unknown in ("vector", "cache:local", "redis"):
        with pytest.raises(ConfigurationError) as caught:
            poolmgr.pool(unknown)
        assert str(caught.value) == (
            f"{unknown!r} is no target of this site; there are: default, cache:default, vectors"
        )


def test_a_target_that_is_declared_anew_gets_another_pool(vectors: str, settings: Any) -> None:
    first = poolmgr.pool(vectors)
    declared = settings.POOLMGR["TARGETS"][vectors]
    settings.POOLMGR = {**settings.POOLMGR, "TARGETS": {vectors: {**declared, "POOL": {"max_size": 4, "min_size": 0}}}}
    assert poolmgr.pool(vectors) is not first
    assert poolmgr.pool(vectors).max_connections == 4


@pytest.mark.long
def test_the_url_of_a_declared_target_is_shown_to_nobody(settings: Any) -> None:  # P13
    declared = {
        "vectors": {"KIND": "redis", "URL": f"redis://:{PLANTED}@127.0.0.1:1/0"},
        "plain": {"KIND": "redis", "URL": f"redis://{PLANTED}:1/0"},
    }
    settings.DEBUG = True
    settings.ROOT_URLCONF = "tests.integration.failing_urls"
    settings.DEFAULT_EXCEPTION_REPORTER_FILTER = "django.views.debug.SafeExceptionReporterFilter"
    settings.POOLMGR = {**settings.POOLMGR, "AGENT": False, "REDIS_URL": "redis://127.0.0.1:1/0", "TARGETS": declared}
    assert PLANTED not in repr(conf()) + repr(settings.POOLMGR)
    assert isinstance(conf().TARGETS["vectors"].url, Secret)
    client = Client(raise_request_exception=False)
    for accept in ("text/html", "text/plain"):
        text = client.get("/store/", headers={"accept": accept}).content.decode()
        assert "TARGETS" in text
        assert PLANTED not in text
    with pytest.raises(redis.ConnectionError) as caught:
        redis.Redis(connection_pool=poolmgr.pool("vectors")).ping()
    assert PLANTED not in str(caught.value)


def test_without_the_library_a_declared_target_says_what_to_install() -> None:  # P11
    program = textwrap.dedent(
        """
        import sys
        sys.modules["redis"] = None
        import django
        from django.conf import settings
        settings.configure(
            INSTALLED_APPS=["django.contrib.contenttypes", "poolmgr"],
            DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
            POOLMGR={"TARGETS": {"vectors": {"KIND": "redis", "URL": "redis://127.0.0.1:1/0"}}},
        )
        django.setup()
        import poolmgr
        from poolmgr.targets.known import known_targets
        print(known_targets())
        from django.core.checks import run_checks
        print([each.msg for each in run_checks() if each.id == "poolmgr.E006"])
        try:
            poolmgr.pool("vectors")
        except poolmgr.exceptions.ConfigurationError as ex:
            print(ex)
        """
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    sentence = "Redis targets need redis, which is not installed: pip install 'poolmgr[redis]'"
    where = "POOLMGR['TARGETS']['vectors']"
    assert done.stdout.splitlines() == ["('vectors',)", str([f"{where}: {sentence}."]), f"{where}: {sentence}"], (
        done.stderr
    )


def test_a_declaration_may_say_what_a_url_can_not(settings: Any, redis_server: EmbeddedRedis) -> None:
    _, _, password = redis_server.url().rpartition("@")[0].rpartition(":")
    url = f"redis://127.0.0.1:{redis_server.port}/7"
    options = {"password": password, "client_name": "counted", "socket_keepalive_options": {}, "decode_responses": True}
    declared = {"KIND": "redis", "URL": url, "OPTIONS": options, "POOL": {"min_size": 0}}
    settings.POOLMGR = {**settings.POOLMGR, "AGENT": False, "TARGETS": {"vectors": declared}}
    client = redis.Redis(connection_pool=poolmgr.pool("vectors"))
    assert client.client_getname() == "counted"
    assert password not in repr(settings.POOLMGR) + repr(conf())
    assert [each for each in run_checks() if each.id.startswith("poolmgr.E")] == []
    settings.POOLMGR = {"AGENT": False}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {"socket_timeuot": 3},
            "has 'socket_timeuot' with a value that is not shown, but may only have keyword arguments",
        ),
        ({"target": "other"}, "has 'target' with a value that is not shown, but may only have keyword arguments"),
        ({"max_connections": 3}, "give it max_size and connection_timeout instead"),
        ({"username": "site", "credential_provider": object()}, "is a value that is not shown, but must be"),
        (["socket_timeout", 3], "is a value that is not shown, but must be a dict of keyword arguments of redis-py's"),
        ({"password": PLANTED, "no_such": PLANTED}, "has 'no_such' with a value that is not shown"),
    ],
    ids=["misspelt", "ours", "sizes", "both", "list", "secret"],
)
def test_an_option_that_redis_py_does_not_know_is_told_by_its_name(
    options: Any, told: str, settings: Any
) -> None:  # P13
    declared = {"KIND": "redis", "URL": "redis://127.0.0.1:1/0", "OPTIONS": options}
    settings.POOLMGR = {**settings.POOLMGR, "AGENT": False, "TARGETS": {"vectors": declared}}
    with pytest.raises(ConfigurationError) as caught:
        poolmgr.pool("vectors")
    assert told in str(caught.value)
    assert PLANTED not in str(caught.value)
    assert told in " ".join(each.msg for each in run_checks() if each.id == "poolmgr.E008")
    settings.POOLMGR = {"AGENT": False}
