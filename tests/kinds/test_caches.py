"""Django's caches on managed pools: Django's own backend, django-redis, sessions."""

import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from django.core.cache import caches
from django.core.checks import run_checks
from django.core.exceptions import ValidationError

from poolmgr import exceptions
from poolmgr.control.reporting.health import check_target
from poolmgr.models import PoolProfile
from poolmgr.pools import registry
from poolmgr.pools.desired import Desired
from poolmgr.targets.known import address_of, bootstrap_spec, kind_of, known_targets
from poolmgr.targets.redis import caches as plugged
from poolmgr.targets.redis.kind import REDIS
from poolsite.demo.servers import EmbeddedRedis
from tests.threads import at_once

DJANGO_S = {
    "BACKEND": "django.core.cache.backends.redis.RedisCache",
    "OPTIONS": {"pool_class": "poolmgr.targets.redis.caches.CachePool"},
}
DJANGO_REDIS_S = {
    "BACKEND": "django_redis.cache.RedisCache",
    "OPTIONS": {"CONNECTION_FACTORY": "poolmgr.targets.redis.django_redis.ConnectionFactory"},
}
BACKENDS = pytest.mark.parametrize("backend", [DJANGO_S, DJANGO_REDIS_S], ids=["django", "django-redis"])


@pytest.fixture(autouse=True)
def no_agent(settings: Any) -> Iterator[None]:
    settings.POOLMGR = {**settings.POOLMGR, "AGENT": False}
    yield
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    registry.set_desired({})


def cache(backend: dict[str, Any], location: Any, pool: Any = None, **options: Any) -> dict[str, Any]:
    return {
        **backend,
        "LOCATION": location,
        "OPTIONS": {**backend["OPTIONS"], "POOL": {"min_size": 0} if pool is None else pool, **options},
    }


def plain(location: str) -> dict[str, Any]:
    return {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": location}


@BACKENDS
def test_threads_that_start_at_once_share_one_pool_of_the_cache(  # P6
    backend: dict[str, Any], settings: Any, redis_server: EmbeddedRedis
) -> None:
    settings.CACHES = {
        "default": plain("x"),
        "quick": cache(backend, redis_server.url(8), {"min_size": 0, "max_size": 2}),
    }
    barrier = threading.Barrier(8)

    def use(number: int) -> Any:
        barrier.wait()
        caches["quick"].set(f"key{number}", number)
        return caches["quick"].get(f"key{number}")

    assert at_once(*(partial(use, number) for number in range(8))) == list(range(8))
    pool = registry.get("cache:quick")
    assert pool is not None
    seen = pool.snapshot()
    assert (seen.kind, seen.checkouts, seen.used) == ("redis", 16, 0)
    assert seen.created <= 2


@BACKENDS
def test_caches_on_one_server_have_pools_and_options_of_their_own(
    backend: dict[str, Any], settings: Any, redis_server: EmbeddedRedis
) -> None:
    url = redis_server.url(8)
    settings.CACHES = {
        "default": plain("x"),
        "one": cache(backend, url, {"min_size": 0, "max_size": 3}),
        "other": cache(backend, url, {"min_size": 0, "max_size": 4}),
    }
    for alias, size in (("one", 3), ("other", 4)):
        caches[alias].set("key", alias)
        pool = registry.get(f"cache:{alias}")
        assert pool is not None
        assert pool.spec.max_size == size
        assert pool.snapshot().checkouts == 1


@BACKENDS
def test_caches_with_the_same_words_are_told_apart_by_where_they_stand(
    backend: dict[str, Any], settings: Any, redis_server: EmbeddedRedis
) -> None:
    url = redis_server.url(8)
    settings.CACHES = {"default": plain("x"), "one": cache(backend, url, {}), "other": cache(backend, url, {})}
    caches["other"].set("key", 1)
    assert [pool.target for pool in registry.pools() if pool.kind == "redis"] == ["cache:other"]


@BACKENDS
def test_profile_of_a_cache_is_followed_live(
    backend: dict[str, Any], settings: Any, redis_server: EmbeddedRedis
) -> None:  # P5
    settings.CACHES = {"default": plain("x"), "quick": cache(backend, redis_server.url(8))}
    caches["quick"].set("key", 1)
    pool = registry.get("cache:quick")
    assert pool is not None
    registry.set_desired({"cache:quick": Desired(REDIS.make_spec({"max_size": 7, "min_size": 0}), "profile 1", 3)})
    assert (pool.snapshot().max_size, pool.snapshot().profile) == (7, "profile 1")
    pool.pause()
    assert pool.snapshot().status == "paused"
    pool.resume()
    assert caches["quick"].get("key") == 1
    assert pool.recycle(10).replaced == 1


@BACKENDS
def test_settings_name_the_targets_without_a_secret(
    backend: dict[str, Any], settings: Any, redis_server: EmbeddedRedis
) -> None:  # P13
    first, second = redis_server.url(8), redis_server.url(9)
    settings.CACHES = {"default": plain("x"), "quick": cache(backend, [first, second], {"max_size": 3})}
    assert [target for target in known_targets() if target.startswith("cache:")] == ["cache:quick", "cache:quick/1"]
    assert kind_of("cache:quick") is REDIS
    assert address_of("cache:quick/1") == f"127.0.0.1:{redis_server.port}/9"
    assert bootstrap_spec("cache:quick") == REDIS.make_spec({"max_size": 3})
    caches["quick"].set("key", 1)
    assert {pool.target for pool in registry.pools() if pool.kind == "redis"} == {"cache:quick"}


@BACKENDS
def test_health_check_of_a_cache_asks_its_server(
    backend: dict[str, Any], settings: Any, redis_server: EmbeddedRedis, transactional_db: None
) -> None:
    settings.CACHES = {"default": plain("x"), "quick": cache(backend, redis_server.url(8))}
    caches["quick"].set("key", 1)
    check = check_target("cache:quick")
    assert check.state == "ok", check.message
    assert check.server_max == 10000 or (check.server_max or 0) > 0
    assert (check.server_used or 0) >= 1
    assert check.ours == 1
    assert check.server_version
    assert check.query_time is not None


@BACKENDS
def test_health_check_tells_a_refused_password_and_a_server_that_is_away(
    backend: dict[str, Any], settings: Any, redis_server: EmbeddedRedis, transactional_db: None
) -> None:  # P9
    wrong = f"redis://:not-the-password@127.0.0.1:{redis_server.port}/8"
    settings.CACHES = {
        "default": plain("x"),
        "wrong": cache(backend, wrong),
        "away": cache(backend, "redis://127.0.0.1:1/0"),
    }
    check = check_target("cache:wrong")
    assert check.state == "critical"
    assert check.message == f"The server refuses the user or the password: 127.0.0.1:{redis_server.port}/8."
    assert check_target("cache:away").message == "Nothing listens at the address: 127.0.0.1:1/0."


def test_profile_of_a_cache_refuses_what_its_kind_refuses(settings: Any, redis_server: EmbeddedRedis) -> None:
    settings.CACHES = {"default": plain("x"), "quick": cache(DJANGO_S, redis_server.url(8))}
    values = {**REDIS.defaults.to_dict(), "pool_mode": "transaction", "validation_query": "SELECT 1"}
    with pytest.raises(ValidationError) as caught:
        PoolProfile(target="cache:quick", **values).clean()
    told = caught.value.message_dict
    assert told["pool_mode"] == [
        "A Redis connection goes back after each command, pipeline or subscription. It stays at session."
    ]
    assert "is not PING" in told["validation_query"][0]


def test_paused_cache_is_a_miss_where_django_redis_ignores_errors(settings: Any, redis_server: EmbeddedRedis) -> None:
    pool = {"min_size": 0, "connection_timeout": 0.1}
    settings.CACHES = {
        "default": plain("x"),
        "quick": cache(DJANGO_REDIS_S, redis_server.url(8), pool, IGNORE_EXCEPTIONS=True),
    }
    caches["quick"].set("key", 1)
    paused = registry.get("cache:quick")
    assert paused is not None
    paused.pause()
    assert caches["quick"].get("key", "missed") == "missed"
    paused.resume()
    assert caches["quick"].get("key") == 1


def test_closed_target_is_made_anew_for_clients_that_know_the_old_one(
    settings: Any, redis_server: EmbeddedRedis
) -> None:
    settings.CACHES = {"default": plain("x"), "quick": cache(DJANGO_REDIS_S, redis_server.url(8))}
    caches["quick"].set("key", 1)
    first = registry.get("cache:quick")
    registry.close("cache:quick")
    assert caches["quick"].get("key") == 1
    assert registry.get("cache:quick") is not first


def test_wrong_declarations_are_told_by_the_system_checks(settings: Any) -> None:
    settings.CACHES = {
        "default": plain("x"),
        "values": cache(DJANGO_S, "redis://127.0.0.1:1/0", {"max_sise": 3}),
        "refused": cache(DJANGO_S, "redis://127.0.0.1:1/0", {"pool_mode": "statement"}),
        "kind": cache(DJANGO_S, "redis://127.0.0.1:1/0", ["max_size", 3]),
        "untold": {**DJANGO_S, "LOCATION": "redis://127.0.0.1:1/0", "OPTIONS": {"POOL": {}}},
        "elsewhere": cache(DJANGO_S, "127.0.0.1:11211"),
    }
    told = {each.msg.split(":")[0]: each for each in run_checks() if "CACHES" in each.msg}
    found = {(each.id, each.msg) for each in told.values()}
    assert {number for number, _ in found} == {"poolmgr.E005", "poolmgr.E007"}
    messages = " ".join(message for _, message in found)
    for words in (
        "CACHES['values']['OPTIONS']['POOL']: max_sise: unknown setting",
        "pool_mode: A Redis connection goes back after each command",
        "POOL: ['max_size', 3] is not a dict",
        "CACHES['untold'] has a POOL, but its backend",
        "CACHES['elsewhere'] has a POOL, but its LOCATION is no URL of a Redis",
    ):
        assert words in messages
    assert bootstrap_spec("cache:values") is None


def test_pool_class_without_a_pool_of_the_settings_says_what_is_missing(settings: Any) -> None:
    url = "redis://127.0.0.1:1/0"
    settings.CACHES = {"default": plain("x"), "bare": {**DJANGO_S, "LOCATION": url}}
    with pytest.raises(exceptions.ConfigurationError, match=r"give each cache in CACHES an OPTIONS\['POOL'\]"):
        caches["bare"].get("key")


def test_size_in_redis_py_s_words_beside_a_target_is_refused(settings: Any) -> None:
    settings.CACHES = {"default": plain("x"), "quick": cache(DJANGO_S, "redis://127.0.0.1:1/0", max_connections=5)}
    with pytest.raises(exceptions.ConfigurationError, match="give it max_size"):
        caches["quick"].get("key")


def test_pool_of_a_target_is_the_one_that_its_cache_uses(settings: Any, redis_server: EmbeddedRedis) -> None:
    settings.CACHES = {"default": plain("x"), "quick": cache(DJANGO_S, redis_server.url(8))}
    caches["quick"].set("key", 1)
    assert plugged.pool_of("cache:quick").managed.peers is registry.get("cache:quick")
    with pytest.raises(KeyError):
        plugged.pool_of("cache:none")


@pytest.mark.long
def test_without_redis_py_the_targets_are_known_and_using_one_says_what_to_install() -> None:  # P11
    program = textwrap.dedent(
        """
        import sys
        sys.modules["redis"] = None
        import django
        from django.conf import settings
        settings.configure(
            INSTALLED_APPS=[f"django.contrib.{each}" for each in ("admin", "auth", "contenttypes", "messages", "sessions")]
            + ["poolmgr"],
            DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
            CACHES={"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": "redis://127.0.0.1:1/0",
                "OPTIONS": {"POOL": {}, "pool_class": "poolmgr.targets.redis.caches.CachePool"}}},
        )
        django.setup()
        import poolmgr.admin, poolmgr.dashboard.urls
        from poolmgr.targets.known import known_targets, kind_of, bootstrap_spec
        print(known_targets(), kind_of("cache:default").label, bootstrap_spec("cache:default").validation_query)
        from django.core.checks import run_checks
        print([each.id for each in run_checks() if each.id == "poolmgr.E006"])
        try:
            import poolmgr.targets.redis.caches
        except ImportError as ex:
            print(ex)
        """
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == [
        "('cache:default',) Redis PING",
        "['poolmgr.E006']",
        "a Redis target needs redis-py: pip install 'poolmgr[redis]'",
    ], done.stderr


@BACKENDS
def test_each_location_of_a_cache_is_paused_and_sized_alone(
    backend: dict[str, Any], settings: Any, redis_server: EmbeddedRedis
) -> None:
    pool = {"min_size": 0, "connection_timeout": 0.1}
    # What is written to the first is read from the second.
    urls = [redis_server.url(8), redis_server.url(8).replace("127.0.0.1", "localhost")]
    settings.CACHES = {"default": plain("x"), "quick": cache(backend, urls, pool)}
    caches["quick"].set("key", 1)
    assert caches["quick"].get("key") == 1
    replica = registry.get("cache:quick/1")
    assert replica is not None
    registry.set_desired({"cache:quick/1": Desired(REDIS.make_spec({**pool, "max_size": 3}), "profile 1", 1)})
    assert (replica.spec.max_size, registry.get("cache:quick").spec.max_size) == (3, 10)  # type: ignore[union-attr]
    replica.pause()
    caches["quick"].set("key", 2)
    with pytest.raises((exceptions.PoolPaused, ConnectionError)) as caught:
        caches["quick"].get("key")
    assert "the pool is paused" in str(caught.value)
    replica.resume()
    assert caches["quick"].get("key") == 2


@pytest.mark.long
def test_without_django_redis_a_cache_on_it_says_what_to_install() -> None:  # P11
    program = textwrap.dedent(
        """
        import sys
        sys.modules["django_redis"] = None
        import django
        from django.conf import settings
        settings.configure(
            INSTALLED_APPS=["django.contrib.contenttypes", "poolmgr"],
            DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
            CACHES={"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://127.0.0.1:1/0",
                "OPTIONS": {"POOL": {}, "CONNECTION_FACTORY": "poolmgr.targets.redis.django_redis.ConnectionFactory"}}},
        )
        django.setup()
        from poolmgr.checks import check_caches
        print(*[(each.id, each.msg) for each in check_caches()])
        """
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    sentence = (
        "CACHES['default'] has a POOL, but its backend needs django-redis, which is not installed:"
        " pip install 'poolmgr[redis]'."
    )
    assert done.stdout.strip() == str(("poolmgr.E006", sentence)), done.stderr
