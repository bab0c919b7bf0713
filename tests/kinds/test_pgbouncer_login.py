"""Who is not let into a PgBouncer's console gets the sentence that helps, within a deadline: on real ones of each version."""

from collections.abc import Callable
from time import monotonic
from urllib.parse import unquote, urlsplit

import psycopg
import pytest

from poolmgr.exceptions import AuthenticationFailed, CheckoutError
from poolmgr.targets.pgbouncer.console import Console
from poolsite.demo.servers import EmbeddedPostgres
from tests.bouncer import ADMIN, PASSWORD, STRANGER, Bouncer

pytestmark = pytest.mark.every_pgbouncer

BY_QUERY = "by_query"
QUERY = "SELECT usename, passwd FROM pg_shadow WHERE usename = $1"


def login(url: str) -> str:
    """The sentence; "" for who is let in."""
    console = Console(url, "bouncer")
    began = monotonic()
    refused: CheckoutError | None = None
    try:
        with console.within():
            console.rows("CONFIG")
    except CheckoutError as error:
        refused = error
    finally:
        console.close()
    assert monotonic() - began < 6
    if refused is None:
        return ""
    assert isinstance(refused, AuthenticationFailed) or "does not answer" in str(refused)
    assert PASSWORD not in str(refused) + repr(refused.__cause__) + repr(refused.__context__)
    return str(refused)


@pytest.fixture(scope="module")
def shared(make_bouncer: Callable[..., Bouncer]) -> Bouncer:
    return make_bouncer({"app": ""})


@pytest.mark.parametrize("way", ["scram-sha-256", pytest.param("md5", marks=pytest.mark.long)])
def test_a_password_a_user_or_a_right_that_is_not_there(way: str, shared: Bouncer) -> None:  # P9, P13
    shared.write(auth_type=way)
    shared.console("RELOAD")
    refused = "PgBouncer refuses the password, or has no such user in its auth_file"
    assert login(shared.console_url(ADMIN, "wrong")) == refused
    assert refused in login(shared.console_url("nobody")) or "no such user" in login(shared.console_url("nobody"))
    assert login(shared.console_url(STRANGER)) == (
        "PgBouncer does not let this user into its console: name it in admin_users of pgbouncer.ini"
    )
    without = shared.console_url().replace(f":{PASSWORD}@", "@")
    assert "PgBouncer asks for a password, and the URL has none" in login(without)
    assert login(shared.console_url()) == ""


@pytest.mark.long
def test_a_file_of_hosts_that_lets_nobody_in_from_here(make_bouncer: Callable[..., Bouncer]) -> None:  # P9
    bouncer = make_bouncer({"app": ""})
    hosts = bouncer.directory / "hosts"
    bouncer.put(hosts, "host all all 10.0.0.0/8 scram-sha-256\n")
    bouncer.write(auth_type="hba", auth_hba_file=hosts)
    bouncer.console("RELOAD")
    told = "PgBouncer's auth_hba_file lets nobody into the console from here as this user"
    assert told in login(bouncer.console_url())


@pytest.mark.long
def test_what_is_no_pgbouncer(postgres: EmbeddedPostgres, bouncer_program: str) -> None:  # P9
    told = "no PgBouncer answers there, but a server that has no such console"
    assert told in login(postgres.url("no_console"))
    assert told in login(postgres.url("postgres"))


@pytest.mark.long
def test_a_user_whom_only_auth_query_knows_is_let_in_or_told_where_to_put_it(
    make_bouncer: Callable[..., Bouncer], postgres: EmbeddedPostgres
) -> None:  # P8, P9
    bouncer = make_bouncer({"app": ""})
    asks = urlsplit(postgres.superuser_url())
    with psycopg.connect(postgres.superuser_url(), autocommit=True) as console:
        console.execute(f"DROP ROLE IF EXISTS {BY_QUERY}")
        console.execute(f"CREATE ROLE {BY_QUERY} LOGIN PASSWORD '{PASSWORD}'")
    bouncer.put(bouncer.users, bouncer.users.read_text() + f'"{asks.username}" "{unquote(asks.password or "")}"\n')
    common = {"admin_users": f"{ADMIN}, {BY_QUERY}", "auth_query": QUERY}
    try:
        bouncer.write(**common, auth_user=asks.username)
        bouncer.console("RELOAD")
        # It has no database in which to ask.
        told = login(bouncer.console_url(BY_QUERY))
        assert (
            "put that user into auth_file" if bouncer.version < (1, 20) else "put that user into its auth_file"
        ) in told
        if bouncer.version < (1, 19):
            return  # it has no setting that could name one
        bouncer.write(**common, auth_user=asks.username, auth_dbname="app")
        bouncer.console("RELOAD")
        assert login(bouncer.console_url(BY_QUERY)) == ""
        assert "refuses the password" in login(bouncer.console_url(BY_QUERY, "wrong"))
        bouncer.write(**common, auth_user="whom_the_server_does_not_know", auth_dbname="app")
        bouncer.stop()
        bouncer.start()
        for n in range(2):  # the second time it remembers
            told = login(bouncer.console_url(BY_QUERY))
            # The first time versions below 1.22 say nothing.
            waits = bouncer.version < (1, 22) and not n
            assert ("does not answer" if waits else "PgBouncer can't ask auth_query for the console's user") in told
            assert "put that user into" in told
    finally:
        with psycopg.connect(postgres.superuser_url(), autocommit=True) as console:
            console.execute(f"DROP ROLE {BY_QUERY}")
