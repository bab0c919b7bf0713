"""System checks: each finds its mistake, says what to do, and is silent about sound settings."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from django.db import connections
from psycopg.conninfo import conninfo_to_dict

import poolmgr
from poolmgr import checks
from poolmgr.conf import Declared
from poolmgr.exceptions import ConfigurationError
from poolmgr.targets.pgbouncer.consoles import places

Configure = Callable[..., None]


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch) -> Configure:
    """configure(OPTIONS={...}, …): a default database with these settings."""

    def apply(**values: Any) -> None:
        changed = deepcopy(connections.settings)
        changed["default"].update(values)
        monkeypatch.setattr(connections, "settings", changed)

    return apply


def ids(check: Callable[..., Any]) -> list[str]:
    found = check()
    assert all(each.hint for each in found)
    return [each.id for each in found]


def test_sound_settings_pass_every_check() -> None:
    for check in (checks.check_setting, checks.check_databases, checks.check_celery, checks.check_console_lane):
        assert ids(check) == []


def test_a_wrong_poolmgr_setting_is_an_error(settings: Any) -> None:
    settings.POOLMGR = {"POLL_INTERVALL": 5}
    assert ids(checks.check_setting) == ["poolmgr.E001"]
    assert "unknown key 'POLL_INTERVALL'; allowed are" in checks.check_setting()[0].msg


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("POLL_INTERVAL", 0, "POOLMGR['POLL_INTERVAL'] is 0, but must be a number of seconds from 0.1 to 300"),
        ("POLL_INTERVAL", "5", "POOLMGR['POLL_INTERVAL'] is '5', but must be a number"),
        (
            "CONSOLE_PATHS",
            "/accounts/",
            "POOLMGR['CONSOLE_PATHS'] is '/accounts/', but must be a list of paths that begin with /",
        ),
        ("ROLE", "webb", "POOLMGR['ROLE'] is 'webb', but must be None or one of web, worker, command"),
        ("CONTROL_DATABASE", "nope", "POOLMGR['CONTROL_DATABASE'] is 'nope', but must be an alias"),
        ("REDIS_URL", "http://:secret@x", "POOLMGR['REDIS_URL'] is a value that is not shown, but must be"),
        (
            "REDIS_URL",
            "redis://:secret@127.0.0.1:port/0",
            "POOLMGR['REDIS_URL'] is a value that is not shown, but must be",
        ),
        ("REDIS_URL", "redis://:secret@[::1", "POOLMGR['REDIS_URL'] is a value that is not shown, but must be"),
        ("REDIS_URL", "redis:secret@127.0.0.1", "POOLMGR['REDIS_URL'] is a value that is not shown, but must be"),
        ("REDIS_URL", "redis://:secret@h?foo=bar", "POOLMGR['REDIS_URL'] is a value that is not shown, but must be"),
        ("REDIS_URL", "redis://:secret@h?db=one", "POOLMGR['REDIS_URL'] is a value that is not shown, but must be"),
        ("CONTROL_DATABASE", [], "POOLMGR['CONTROL_DATABASE'] is [], but must be an alias"),
        ("CONTROL_DATABASE", {}, "POOLMGR['CONTROL_DATABASE'] is {}, but must be an alias"),
        (
            "TARGETS",
            ["secret"],
            "POOLMGR['TARGETS'] is a value that is not shown, but must be a dict of declared targets",
        ),
        ("AGENT", "yes", "POOLMGR['AGENT'] is 'yes', but must be True or False"),
        ("PROCESS_TTL", 3, "must be more than twice HEARTBEAT_INTERVAL"),
    ],
)
def test_a_wrong_value_is_told_with_its_key_and_what_is_allowed(
    settings: Any, key: str, value: object, words: str
) -> None:
    settings.POOLMGR = {key: value}
    [found] = checks.check_setting()
    assert words in found.msg
    assert "secret" not in found.msg  # P13


URL = "redis://:secret@127.0.0.1:1/0"
CONSOLE = "postgresql://boss:secret@h:6432/pgbouncer"


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        (
            "default",
            {"KIND": "redis", "URL": URL},
            "has the name 'default', which is a database's in DATABASES; choose",
        ),
        (
            "cache:x",
            {"KIND": "redis", "URL": URL},
            "has the name 'cache:x', but cache: begins the names of caches; choose",
        ),
        (
            "a b",
            {"KIND": "redis", "URL": URL},
            "has the name 'a b', but a name must be of letters, digits, dots, dashes",
        ),
        (7, {"KIND": "redis", "URL": URL}, "has the name 7, but a name must be"),
        (
            URL,
            {"KIND": "redis"},
            "has the name '***', but a name",
        ),
        ("vectors", URL, "['vectors'] is a value that is not shown, but must be a dict with a KIND"),
        ("vectors", {"URL": URL}, "['vectors']['KIND'] is missing, but must be the name of a kind, such as 'redis'"),
        ("vectors", {"KIND": None}, "['vectors']['KIND'] is None, but must be the name of a kind"),
        (
            "vectors",
            {"KIND": "redis", "URL": b"secret"},
            "['vectors']['URL'] is a value that is not shown, but must be a URL",
        ),
        (
            "vectors",
            {"KIND": "redis", "URL": URL, "POOL": 3},
            "['vectors']['POOL'] is 3, but must be a dict of a profile's",
        ),
        ("vectors", {"KIND": "redis", 5: URL}, "['vectors'] has the unknown key 5; allowed are words such as KIND"),
    ],
)
def test_a_target_that_is_declared_wrong_is_told_with_its_name_and_what_is_allowed(
    settings: Any, name: Any, given: Any, words: str
) -> None:
    settings.POOLMGR = {"TARGETS": {name: given}}
    [found] = checks.check_setting()
    assert found.id == "poolmgr.E001"
    assert words in found.msg
    assert "secret" not in found.msg  # P13
    assert "secret" not in repr(settings.POOLMGR["TARGETS"]).replace("b'secret'", "")  # P13


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"KIND": "reddis", "URL": URL}, "['vectors']['KIND'] is 'reddis', but must be one of redis"),
        ({"KIND": "postgresql", "URL": URL}, "['vectors']['KIND'] is 'postgresql', but must be one of redis"),
        ({"KIND": "redis", "URL": URL, "SIZE": 3}, "unknown key 'SIZE'; a target of kind redis has KIND, POOL, URL"),
        ({"KIND": "redis"}, "['vectors']['URL'] is missing, but must be a URL such as redis://host:6379/0"),
        (
            {"KIND": "redis", "URL": "http://:secret@h"},
            "['vectors']['URL'] is a value that is not shown, but must be a URL",
        ),
        (
            {"KIND": "redis", "URL": f"{URL}?foo=bar"},
            "not shown, but must be a URL that redis-py understands, with no other",
        ),
        (
            {"KIND": "redis", "URL": "redis://:secret@h?db=one"},
            "not shown, but must be a URL that redis-py understands",
        ),
        (
            {"KIND": "redis", "URL": URL, "POOL": {"max_sise": 3}},
            "['vectors']['POOL']: max_sise: unknown setting; allowed",
        ),
        (
            {"KIND": "redis", "URL": URL, "POOL": {"max_size": 0}},
            "['vectors']['POOL']: max_size: 0 is not between 1 and",
        ),
        (
            {"KIND": "pgbouncer", "URL": URL, "DATABASES": ["app"]},
            "not shown, but must be the URL of the console, such as",
        ),
        ({"KIND": "pgbouncer", "URL": CONSOLE}, "['DATABASES'] is missing, but must be a list of PgBouncer's names"),
        (
            {"KIND": "pgbouncer", "URL": CONSOLE, "DATABASES": ["app", "app"]},
            "['DATABASES'] is a value that is not shown, but must be a list of PgBouncer's names of databases, each once",
        ),
        (
            {"KIND": "pgbouncer", "URL": CONSOLE, "DATABASES": ["app\nKILL app"]},
            "['DATABASES'] is a value that is not shown, but must be a list of PgBouncer's names of databases",
        ),
        (
            {"KIND": "pgbouncer", "URL": CONSOLE, "DATABASES": {"app": {"max_size": 0}}},
            "such as ['app'], or a dict of them with what each has of its own: max_size, min_size, budget, pool_mode",
        ),
        (
            {"KIND": "pgbouncer", "URL": CONSOLE, "DATABASES": {"app": {"idle_timeout": 5}}},
            "or a dict of them with what each has of its own: max_size, min_size, budget, pool_mode",
        ),
        (
            {"KIND": "pgbouncer", "URL": CONSOLE, "DATABASES": {"app": {"pool_mode": "none"}}},
            "or a dict of them with what each has of its own: max_size, min_size, budget, pool_mode",
        ),
        (
            {"KIND": "pgbouncer", "URL": f"{CONSOLE}?secret=1", "DATABASES": ["app"]},
            "['URL'] is a value that is not shown, but must be a URL that libpq can read",
        ),
        (
            {"KIND": "pgbouncer", "URL": CONSOLE, "DATABASES": ["app"], "OTHER_URLS": [CONSOLE]},
            "['OTHER_URLS'][0] leads to h:6432, as POOLMGR['TARGETS']['vectors']['URL'] does",
        ),
        (
            {"KIND": "pgbouncer", "URL": "postgresql://boss:secret@h/app", "DATABASES": ["app"]},
            "['URL'] leads to the database 'app', and the console's is 'pgbouncer'",
        ),
        (
            {"KIND": "pgbouncer", "URL": "postgresql://boss:secret@h,i/pgbouncer", "DATABASES": ["app"]},
            "['URL'] names several hosts; the consoles of others stand in OTHER_URLS",
        ),
        (
            {"KIND": "pgbouncer", "URL": CONSOLE, "DATABASES": ["app"], "POOL": {"max_waiting": 3}},
            "POOL']: max_waiting: PgBouncer can't bound who waits",
        ),
        (
            {"KIND": "pgbouncer", "URL": CONSOLE, "DATABASES": ["app"], "POOL": {"idle_timeout": 0.5}},
            "POOL']: idle_timeout: 0.5 is not a whole number of seconds, and PgBouncer knows no others",
        ),
        (
            {"KIND": "redis", "URL": URL, "POOL": {"pool_mode": "statement"}},
            "POOL']: pool_mode: A Redis connection goes back",
        ),
    ],
)
def test_a_target_that_its_kind_does_not_allow_is_told_with_the_key_and_what_is_allowed(
    settings: Any, given: Any, words: str
) -> None:
    settings.POOLMGR = {"AGENT": False, "TARGETS": {"vectors": given}}
    assert ids(checks.check_setting) == []
    [found] = checks.check_targets()
    assert (found.id, bool(found.hint)) == ("poolmgr.E008", True)
    assert words in found.msg
    assert "secret" not in found.msg  # P13
    with pytest.raises(ConfigurationError) as caught:
        poolmgr.pool("vectors")
    assert str(caught.value) == found.msg


@pytest.mark.parametrize(
    ("url", "told", "needed"),
    [
        ("postgresql://boss@h", "h:6432", {"host": "h", "port": "6432", "dbname": "pgbouncer", "user": "boss"}),
        ("postgresql://boss@h:7/pgbouncer", "h:7", {"host": "h", "port": "7", "dbname": "pgbouncer", "user": "boss"}),
        ("postgresql:///?host=/run/one", "/run/one:6432", {"host": "/run/one", "port": "6432", "dbname": "pgbouncer"}),
    ],
)
def test_what_the_url_of_a_console_leaves_out_is_pgbouncer_s_own(url: str, told: str, needed: dict[str, str]) -> None:
    [place] = places(Declared("bouncer", "pgbouncer", url, rest={"DATABASES": ["app"]}))
    assert place.address == told
    assert conninfo_to_dict(place.url) == needed


def test_two_targets_on_one_pgbouncer_are_told(settings: Any) -> None:
    mine = {"KIND": "pgbouncer", "URL": CONSOLE, "DATABASES": ["app"]}
    same = {"KIND": "pgbouncer", "URL": "postgresql://other@h:6432", "DATABASES": ["reports"]}
    settings.POOLMGR = {"AGENT": False, "TARGETS": {"mine": mine, "same": same}}
    [found] = checks.check_targets()
    assert found.id == "poolmgr.E008"
    assert found.msg == (
        "POOLMGR['TARGETS']['same']['URL'] leads to h:6432, as POOLMGR['TARGETS']['mine'] does; settings are those of a whole"
        " PgBouncer: name all of its databases in one target"
    )


def test_a_target_that_is_declared_well_passes_the_checks(settings: Any) -> None:
    settings.POOLMGR = {"AGENT": False, "TARGETS": {"vectors": {"KIND": "redis", "URL": URL, "POOL": {"max_size": 3}}}}
    assert ids(checks.check_setting) == ids(checks.check_targets) == []


@pytest.mark.parametrize("given", [[], "", 0, False])
def test_a_poolmgr_that_is_no_dict_is_an_error_also_when_it_is_empty(settings: Any, given: object) -> None:
    settings.POOLMGR = given
    [found] = checks.check_setting()
    assert found.msg == f"POOLMGR is {given!r}, but must be a dict"


def test_wrong_pool_settings_are_an_error(configure: Configure) -> None:
    configure(OPTIONS={"pool": {"max_size": 0}})
    [found] = checks.check_databases()
    assert found.id == "poolmgr.E002"
    assert "DATABASES['default']['OPTIONS']['pool']: max_size: 0 is not between 1 and" in found.msg


@pytest.mark.parametrize("key", ["NAME", "USER", "HOST", "PORT"])
def test_a_url_in_the_place_of_a_name_is_an_error_that_shows_nothing_of_it(configure: Configure, key: str) -> None:
    configure(**{key: "postgresql://site:planted-Pa55@db.example.org/site"})
    [found] = checks.check_databases()
    assert found.id == "poolmgr.E004"
    assert f"DATABASES['default']['{key}'] is " in found.msg
    assert "planted" not in f"{found.msg} {found.hint}"


def test_conn_max_age_is_warned_of(configure: Configure) -> None:
    configure(CONN_MAX_AGE=60, OPTIONS={})
    assert ids(checks.check_databases) == ["poolmgr.W001"]
    configure(CONN_MAX_AGE=60, OPTIONS={"pool": True})
    assert ids(checks.check_databases) == ["poolmgr.E003"]


def test_atomic_requests_defeat_transaction_mode(configure: Configure) -> None:
    configure(ATOMIC_REQUESTS=True, OPTIONS={"pool": {"pool_mode": "transaction"}})
    assert ids(checks.check_databases) == ["poolmgr.W002"]
    configure(ATOMIC_REQUESTS=True, OPTIONS={"pool": {"pool_mode": "session"}})
    assert ids(checks.check_databases) == []


def test_server_side_cursors_and_prepared_statements_behind_pgbouncer_are_warned_of(configure: Configure) -> None:
    configure(PORT="6432")
    assert ids(checks.check_databases) == ["poolmgr.W004"]
    configure(PORT=6432, DISABLE_SERVER_SIDE_CURSORS=True)
    assert ids(checks.check_databases) == []
    configure(PORT=6432, DISABLE_SERVER_SIDE_CURSORS=True, OPTIONS={"prepare_threshold": 5})
    assert ids(checks.check_databases) == ["poolmgr.W004"]


def test_a_native_pool_that_celery_would_close_around_each_task_is_warned_of(configure: Configure) -> None:
    configure(ENGINE="django.db.backends.postgresql", OPTIONS={"pool": True})
    assert ids(checks.check_celery) == ["poolmgr.W005"]
    configure(ENGINE="django.db.backends.postgresql", OPTIONS={})
    assert ids(checks.check_celery) == []


@pytest.mark.parametrize(
    "middleware",
    [
        [],
        ["django.contrib.sessions.middleware.SessionMiddleware", "poolmgr.middleware.ConsoleLaneMiddleware"],
    ],
)
def test_a_console_without_its_lane_is_warned_of(settings: Any, middleware: list[str]) -> None:  # P10
    settings.MIDDLEWARE = middleware
    assert ids(checks.check_console_lane) == ["poolmgr.W003"]
