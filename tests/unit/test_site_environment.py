"""Settings from the environment: what is wrong is named, with what is allowed and without secrets."""

import pytest
from django.core.exceptions import ImproperlyConfigured

from poolmgr.secrets import hide
from poolsite import environment as env

ENGINE = "poolmgr.backends.postgresql"


@pytest.fixture
def given(monkeypatch):
    def set_(value):
        monkeypatch.setenv("THING", value)
        return "THING"

    return set_


def test_required(monkeypatch):
    monkeypatch.delenv("THING", raising=False)
    with pytest.raises(ImproperlyConfigured, match="THING is not set"):
        env.text("THING")


def test_a_url_in_a_wrong_variable_is_not_repeated(given):  # P13
    name = given("postgresql://site:planted-Pa55@host/site")
    for read in (lambda: env.flag(name, True), lambda: env.number(name, 1), lambda: env.choice(name, "a", ("a", "b"))):
        with pytest.raises(ImproperlyConfigured, match=f"{name}=a value that is not shown") as caught:
            read()
        assert "planted" not in str(caught.value)


def test_the_parts_of_a_url_show_no_password(given):  # P13
    name = given("postgresql://site:planted-Pa55@host/site")
    found = env.database(name, ENGINE, {})
    assert found["PASSWORD"] == "planted-Pa55"
    hide(found)
    assert "planted" not in repr(found)
    assert "planted" not in repr(env.redis_url(given("redis://:planted-Pa55@host/0")))


@pytest.mark.parametrize(("value", "expected"), [("1", True), ("Yes", True), ("off", False), ("", True)])
def test_flags(given, value, expected):
    assert env.flag(given(value), True) is expected


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (lambda name: env.flag(name, True), "maybe"),
        (lambda name: env.number(name, 1), "-3"),
        (lambda name: env.number(name, 1, minimum=2), "1"),
        (lambda name: env.number(name, 1), "many"),
        (lambda name: env.choice(name, "a", ("a", "b")), "c"),
    ],
)
def test_bad_values_name_key_value_and_what_is_allowed(given, read, value):
    name = given(value)
    with pytest.raises(ImproperlyConfigured) as error:
        read(name)
    assert all(part in str(error.value) for part in ("THING", value, "Allowed:"))


def test_database(given):
    url = "postgresql://us%40er:p%2Fw@db.example.org:6432/na%20me?sslmode=require"
    database = env.database(given(url), ENGINE, {"max_size": 4})
    assert database["ENGINE"] == ENGINE
    assert (database["USER"], database["PASSWORD"], database["NAME"]) == ("us@er", "p/w", "na me")
    assert (database["HOST"], database["PORT"], database["CONN_MAX_AGE"]) == ("db.example.org", "6432", 0)
    assert database["OPTIONS"] == {"sslmode": "require", "pool": {"max_size": 4}}


@pytest.mark.parametrize(
    "url",
    [
        "mysql://user:hunter2@host/db",
        "postgresql://user:hunter2@host:port/db",
        "postgresql://user:hunter2@host",
        "user:hunter2@host",
        "postgresql://user:hunter2@[half/db",
        "postgresql:user:hunter2@host/db",
        "postgresql:/user:hunter2@host/db",
        "postgresql:///user:hunter2@host/db",
    ],
)
def test_bad_urls_are_refused_without_showing_the_password(given, url):
    with pytest.raises(ImproperlyConfigured, match="THING") as error:
        env.database(given(url), ENGINE, {})
    assert "hunter2" not in str(error.value)
    assert "Allowed: postgresql://" in str(error.value)


def test_redis(given, monkeypatch):
    assert env.redis_url(given("unix:///run/redis.sock")) == "unix:///run/redis.sock"
    assert env.redis_url(given("rediss://:hunter2@host:6380/1")).startswith("rediss")
    with pytest.raises(ImproperlyConfigured, match=r"Allowed: redis://") as error:
        env.redis_url(given("http://:hunter2@host"))
    assert "hunter2" not in str(error.value)
    monkeypatch.delenv("THING")
    assert env.redis_url("THING") == ""


def test_redis_with_options(given, monkeypatch):
    read = env.redis_url
    assert read(given("redis://:hunter2@host/0"), socket_timeout=2) == "redis://:hunter2@host/0?socket_timeout=2"
    assert read(given("redis://host?db=1"), socket_timeout=2) == "redis://host?db=1&socket_timeout=2"
    assert read(given("redis://host?socket_timeout=9"), socket_timeout=2) == "redis://host?socket_timeout=9"
    assert read(given("unix:///run/redis.sock"), socket_timeout=2) == "unix:///run/redis.sock?socket_timeout=2"
    assert "hunter2" not in repr(read(given("redis://:hunter2@host/0"), socket_timeout=2))
    monkeypatch.delenv("THING")
    assert read("THING", socket_timeout=2) == ""


def test_secret_key(given):
    with pytest.raises(ImproperlyConfigured, match="THING has 5 characters") as error:
        env.secret_key(given("short"))
    assert "short" not in str(error.value)


def test_sqlalchemy_is_given_the_same_url_or_another(given, monkeypatch):
    monkeypatch.setenv("OTHER", "postgresql://us%40er:p%2Fw@db.example.org:6432/site?sslmode=require")
    found = env.sqlalchemy_url("THING", otherwise="OTHER")
    assert found == "postgresql+psycopg://us%40er:p%2Fw@db.example.org:6432/site?sslmode=require"
    assert "p%2Fw" not in repr(found)
    assert (
        env.sqlalchemy_url(given("postgres://replica/site"), otherwise="OTHER") == "postgresql+psycopg://replica/site"
    )
    with pytest.raises(ImproperlyConfigured, match="THING starts with mysql://") as error:
        env.sqlalchemy_url(given("mysql://user:hunter2@host/db"), otherwise="OTHER")
    assert "hunter2" not in str(error.value)
