"""Secrets that don't show themselves, words without passwords, disarmed errors."""

import copy
import json
import pickle
import pprint
import traceback
from typing import Any

import psycopg
import pytest

from poolmgr.exceptions import ConfigurationError, InvalidSpec, PoolExhausted
from poolmgr.pools.diagnosis import diagnose
from poolmgr.secrets import HIDDEN, Secret, disarm, hide, is_secret, replica, scrub, shown
from tests.disclosure import disclosures

PLANTED = "planted-Pa55"


def test_a_secret_is_the_string_for_all_who_use_it() -> None:
    secret = Secret(PLANTED)
    assert secret == PLANTED
    assert hash(secret) == hash(PLANTED)
    assert {secret: 1}[PLANTED] == 1
    assert f"{secret}" == str(secret) == "".join([secret]) == PLANTED
    assert secret.encode() == PLANTED.encode()
    assert json.dumps([secret]) == f'["{PLANTED}"]'
    for copied in (pickle.loads(pickle.dumps(secret)), copy.deepcopy(secret), copy.copy(secret)):
        assert copied == PLANTED
        assert isinstance(copied, Secret)


def test_a_secret_shows_itself_to_nobody() -> None:  # P13
    secret = Secret(PLANTED)
    held = {"a": [secret], "b": (secret, {secret})}
    for told in (
        repr(secret),
        f"{secret!r}",
        repr(held),
        pprint.pformat(held, width=1),
        repr(secret[:5]),
        repr(secret[0]),
    ):
        assert not any(piece in told for piece in ("plant", "'p'", "Pa55"))
    assert repr(Secret("")) == "''"


def test_what_is_hidden_is_what_a_key_or_its_look_gives_away() -> None:  # P13
    url = f"redis://:{PLANTED}@h/0"
    given: dict[str, Any] = {
        "REDIS_URL": "redis://h",
        "PASSWORD": PLANTED,
        "OPTIONS": {"sslpassword": PLANTED, "pool": {"conninfo": "x", "max_size": 1, "name": url}, "list": [url, "b"]},
        "NAME": "site",
        url: 1,
    }
    before = copy.deepcopy(given)
    hide(given)
    assert given == before
    assert PLANTED not in repr(given)
    for plain in (given["NAME"], given["OPTIONS"]["list"][1]):
        assert type(plain) is str
    for secret in (given["REDIS_URL"], given["OPTIONS"]["pool"]["conninfo"]):
        assert isinstance(secret, Secret)
    for other in (None, 5, "text", (url,)):
        hide(other)


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://user:{PLANTED}@host:5432/db?sslmode=require",
        f"postgresql://user:a@b/{PLANTED}@host/db",
        f"'postgresql://user:{PLANTED}@h/db' is not one of a, b",
        f"postgresql:/user:{PLANTED}@host/db",
        f"user:{PLANTED}@host/db",
        f"redis://:{PLANTED}@h/0",
        f"rediss://:{PLANTED}/0",
        f"redis://:{PLANTED}",
        f"postgresql://host/db?password={PLANTED}&sslmode=require",
        f"host=h password={PLANTED} dbname=d",
        f"host=h password = '{PLANTED} and \\' more' dbname=d",
        f"PGPASSWORD={PLANTED}",
        f"sslpassword={PLANTED}",
        f"{{'password': '{PLANTED}'}}",
        f'{{"PASSWORD": "{PLANTED}"}}',
        f"passwd: {PLANTED}",
        f"METRICS_TOKEN={PLANTED}",
    ],
)
def test_what_looks_like_a_password_is_scrubbed(text: str) -> None:  # P13
    assert PLANTED not in scrub(text)
    assert is_secret(text)
    assert PLANTED not in shown(text)
    assert scrub(scrub(text)) == scrub(text)


@pytest.mark.parametrize(
    "text",
    [
        "no connection to 'tokens': the server refuses the password (127.0.0.1:5432/db; 1 in use)",
        "redis://h:6379/0, rediss://host or unix:///path",
        "Redis at 127.0.0.1:6379 refuses the credentials",
        "SELECT x::text @> '{a}'::jsonb FROM t",
        "SELECT '2026-01-01 10:00:00'::timestamp",
        "somebody@example.org",
        "MainThread for 0.1 s (pinned())",
        "[::1]:5432/db",
        "http://localhost:8000/pools/",
    ],
)
def test_what_is_no_secret_is_left(text: str) -> None:
    assert scrub(text) == text
    assert not is_secret(text)
    assert shown(text) == repr(text)


def test_known_secrets_are_scrubbed_wherever_they_stand() -> None:  # P13
    assert scrub(f"with args beginning with: {PLANTED}", PLANTED, "") == "with args beginning with: ***"


@pytest.mark.parametrize(
    "words",
    [
        f'missing "=" after "{PLANTED}" in connection info string',
        f'invalid integer value "{PLANTED}" for connection option "port"',
        f'invalid port number: "{PLANTED}"',
        f'could not translate host name "{PLANTED}@host" to address: Name or service not known',
        f"failed to resolve host '{PLANTED}@host': [Errno -2] Name or service not known",
        f'invalid percent-encoded token: "{PLANTED}%"',
        f'invalid connection option "{PLANTED}"',
    ],
)
def test_what_libpq_quotes_of_a_password_that_it_misread_is_scrubbed(words: str) -> None:  # P13
    error = psycopg.OperationalError(words)
    assert PLANTED not in diagnose(error).sentence
    assert PLANTED not in str(disarm(error))


def fail(password: str) -> None:
    try:
        psycopg.connect(f"host=127.0.0.1 port=1 password={password}")
    except psycopg.OperationalError as ex:
        raise LookupError(f"no luck with password={password}", {"password": password}, 5) from ex


def test_a_disarmed_error_leads_to_nothing_but_its_words_and_its_place() -> None:  # P13
    with pytest.raises(LookupError) as caught:
        fail(PLANTED)
    error = caught.value
    assert disclosures(error, PLANTED)
    error.add_note(f"password={PLANTED}")
    assert disarm(error) is error
    assert (error.__traceback__, error.__cause__, error.__context__) == (None, None, None)
    assert error.args[0] == "no luck with password=***"
    assert error.args[2] == 5
    assert "fail" in "".join(error.__notes__)
    assert disclosures(error, PLANTED) == []


def test_a_driver_s_error_forgets_the_connection_that_failed() -> None:  # P13
    with pytest.raises(psycopg.OperationalError) as caught:
        psycopg.connect(f"host=127.0.0.1 port=1 password={PLANTED}")
    assert disclosures(caught.value, PLANTED)
    assert "refused" in str(disarm(caught.value))
    assert disclosures(caught.value, PLANTED) == []


class Odd(Exception):
    def __init__(self, *, needed: str) -> None:
        super().__init__(f"it needs {needed}")


@pytest.mark.parametrize(
    "error",
    [
        psycopg.errors.ConnectionTimeout("too late"),
        ValueError("wrong"),
        KeyError("a"),
        OSError(2, "gone"),
        Odd(needed="x"),
    ],
)
def test_a_replica_says_the_same_and_is_another(error: Exception) -> None:
    error.add_note("at some place")
    made = replica(error)
    assert made is not error
    assert isinstance(made, type(error) if not isinstance(error, Odd) else psycopg.OperationalError)
    assert str(error) in str(made)
    assert made.__notes__ == ["at some place"]
    assert made.__traceback__ is None


def test_a_replica_keeps_the_server_s_state() -> None:
    error = psycopg.OperationalError("refused")
    error.sqlstate = "53300"
    made = replica(error)
    assert isinstance(made, psycopg.Error)
    assert made.sqlstate == "53300"


def test_no_error_of_ours_repeats_a_secret() -> None:  # P13
    url = f"postgresql://user:{PLANTED}@host/db"
    for error in (
        ConfigurationError(f"X is {url!r}"),
        InvalidSpec({url: f"{url} is unknown"}, url),
        PoolExhausted(f"no connection to {url}"),
    ):
        assert PLANTED not in f"{error} {error!r} {vars(error)} {traceback.format_exception(error)}"
    assert InvalidSpec({url: "unknown"}).errors == {HIDDEN: "unknown"}
