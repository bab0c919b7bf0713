"""Redis over TLS (rediss://), with certificates that are verified."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from django.core.cache import caches

from poolmgr import exceptions
from poolmgr.control.reporting.health import check_target
from poolmgr.pools import registry
from poolmgr.targets.redis.pool import ManagedConnectionPool
from poolsite.demo.redis import EmbeddedRedis
from tests.kinds.subjects import DATABASE, Redis
from tests.tls import Authority, TlsFront
from tests.waiting import until


class TlsRedis(Redis):
    """The kind's subject, whose pool goes through the front."""

    url_by_tls: str

    def _open(self, url: str, settings: dict[str, Any]) -> None:
        super()._open(self.url_by_tls, settings)


@pytest.fixture(autouse=True)
def no_agent(settings: Any) -> None:
    settings.POOLMGR = {**settings.POOLMGR, "AGENT": False}


Front = Callable[..., str]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def front(redis_server: EmbeddedRedis, authority: Authority) -> Iterator[Front]:
    """front(): the URL of the run's Redis behind TLS, with the authority's file in it."""
    made: list[TlsFront] = []

    def one(
        *names: str, clients: bool = False, expired: bool = False, trusted: Path | None = None, **options: Any
    ) -> str:
        context = authority.server_side(*(names or ("127.0.0.1",)), clients=clients, expired=expired)
        made.append(TlsFront(redis_server.port, context))
        url = redis_server.url(DATABASE).replace("redis://", "rediss://")
        url = url.replace(f":{redis_server.port}/", f":{made[-1].port}/")
        words = {"ssl_ca_certs": trusted or authority.file, **options}
        return f"{url}?" + "&".join(f"{name}={value}" for name, value in words.items())

    yield one
    for each in made:
        each.close()


@pytest.fixture(params=["authority", "name", "age"])
def untrusted(request: pytest.FixtureRequest, front: Front, tmp_path: Path) -> tuple[str, str]:
    """Where a server is whose certificate is wrong, and what is said of it."""
    if request.param == "authority":
        return front(trusted=Authority(tmp_path, "other").file), "the server's certificate is not trusted"
    if request.param == "name":
        return front("example.org"), "the server's certificate is for another name"
    return front(expired=True), "the server's certificate has expired"


@pytest.fixture
def subject(redis_server: EmbeddedRedis, front: Front) -> Iterator[TlsRedis]:
    made = TlsRedis(redis_server.url(DATABASE))
    made.url_by_tls = front()
    yield made
    made.close()
    registry.close("test:tls")


def test_a_clean_return_is_used_again(subject: TlsRedis) -> None:
    subject.open(max_size=2)
    used = set()
    for _ in range(20):
        with subject.borrowed() as conn:
            assert type(conn._sock).__name__ == "SSLSocket"
            used.add(subject.use(conn))
    assert len(used) == 1
    seen = subject.pool.snapshot()
    assert (seen.created, seen.cleaned, seen.found_dead) == (1, 0, 0)


def test_what_the_server_closed_is_never_handed_out(subject: TlsRedis) -> None:  # P7
    subject.open(max_size=3)
    subject.give_all_back(subject.hold(3))
    before = subject.ends()
    subject.kill()
    until(lambda: not before & subject.ends())
    until(lambda: subject.pool.snapshot().idle == 0, "the dead ones to be noticed")
    with subject.borrowed() as conn:
        assert subject.use(conn) not in before


def test_a_reply_that_nobody_read_reaches_nobody(subject: TlsRedis) -> None:  # P2
    subject.open(max_size=1)
    with subject.borrowed() as conn:
        conn.send_command("ECHO", "a secret")
        assert conn.can_read(5)
    with subject.borrowed() as conn:
        conn.send_command("ECHO", "mine")
        assert conn.read_response() in (b"mine", "mine")
    assert subject.pool.snapshot().cleaned == 1


def test_what_the_server_says_unasked_is_no_sign_of_death(subject: TlsRedis) -> None:
    subject.url_by_tls += "&protocol=3"
    subject.open(max_size=1, validate_after_idle=0)
    with subject.borrowed() as conn:
        first = subject.use(conn)
        conn.send_command("CLIENT", "TRACKING", "ON", "BCAST")
        conn.read_response()
        # As if the site itself had asked for it at the connect.
        conn.traffic.left.clear()
    subject.admin.set("anything", time.time())
    until(lambda: subject.pool.idle[0].has_news(0), "the message to arrive")
    with subject.borrowed() as conn:
        assert subject.use(conn) == first
    assert subject.pool.snapshot().found_dead == 0


def test_places_are_free_when_the_server_has_closed_its_end(subject: TlsRedis) -> None:  # P6
    subject.open(max_size=4)
    for _ in range(5):
        subject.give_all_back(subject.hold(4))
        subject.pool.drop_idle()
        assert len(subject.ends()) <= 4
    until(lambda: not subject.ends())
    assert subject.pool.snapshot().left_behind == 0


def test_recycle_and_validation_by_query_work(subject: TlsRedis) -> None:
    subject.open(max_size=2, validation="query", validate_after_idle=0)
    subject.give_all_back(subject.hold(2))
    assert subject.pool.recycle(10).replaced == 2
    with subject.borrowed() as conn:
        assert subject.use(conn)


def test_a_server_that_can_not_be_trusted_is_told_by_a_sentence(untrusted: tuple[str, str]) -> None:  # P9
    url, sentence = untrusted
    pool = ManagedConnectionPool.from_url(url, pool={"min_size": 0, "connection_timeout": 1})
    with pytest.raises(exceptions.ServerDown, match=sentence) as caught:
        redis.Redis(connection_pool=pool).ping()
    assert isinstance(caught.value, redis.ConnectionError)
    pool.close()


def test_a_client_s_certificate_is_shown_to_who_wants_one(front: Front, authority: Authority, tmp_path: Path) -> None:
    bare = ManagedConnectionPool.from_url(front(clients=True), pool={"min_size": 0, "connection_timeout": 0.5})
    with pytest.raises(exceptions.ServerDown):
        redis.Redis(connection_pool=bare).ping()
    bare.close()
    certificate, key = authority.client_files(tmp_path, "site@example.org")
    url = front(clients=True, ssl_certfile=certificate, ssl_keyfile=key)
    pool = ManagedConnectionPool.from_url(url, pool={"min_size": 0})
    assert redis.Redis(connection_pool=pool).ping()
    pool.close()


def test_cache_and_health_check_go_over_tls(front: Front, settings: Any, transactional_db: None) -> None:
    settings.CACHES = {
        "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
        "quick": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": front(),
            "OPTIONS": {"pool_class": "poolmgr.targets.redis.caches.CachePool", "POOL": {"min_size": 0}},
        },
    }
    caches["quick"].set("key", 1)
    assert caches["quick"].get("key") == 1
    check = check_target("cache:quick")
    assert (check.state, check.ours) == ("ok", 1), check.message
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
