"""`manage.py pgbouncer config`: a real PgBouncer on the files that it writes serves the site's database."""

import io
import os
import re
import stat
from collections.abc import Callable, Iterator
from math import inf
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import psycopg
import pytest
from django.core.management import CommandError
from django.db import connections
from psycopg import sql

from poolmgr.control.editing import profiles
from poolmgr.models import PoolProfile
from poolmgr.targets.known import manager
from poolmgr.targets.pgbouncer.files.userlist import Userlist
from poolmgr.targets.pgbouncer.files.verifiers import fits, is_md5, is_verifier
from poolmgr.targets.pgbouncer.kind import PGBOUNCER
from poolmgr.targets.pgbouncer.pool import BouncerPool
from poolsite.demo import account
from poolsite.demo.servers import EmbeddedPostgres
from tests.agents import command, without_agent
from tests.bouncer import ADMIN, ONLOOKER, PASSWORD, Bouncer
from tests.tls import Authority, TlsFront
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)

TARGET = "bouncer"
MADE = Callable[..., Bouncer]


@pytest.fixture
def bouncer(make_bouncer: MADE) -> Bouncer:
    return make_bouncer({"app": ""})


@pytest.fixture
def declare(settings: Any) -> Callable[..., None]:
    def declare(bouncer: Bouncer, **more: Any) -> None:
        given = {"KIND": "pgbouncer", "URL": bouncer.console_url(), "DATABASES": ["app"], **more}
        without_agent()
        settings.POOLMGR = {"AGENT": False, "HEARTBEAT_INTERVAL": 0.2, "TARGETS": {TARGET: given}}

    return declare


@pytest.fixture
def site(postgres: EmbeddedPostgres) -> Iterator[Callable[..., None]]:
    """site(reports={"NAME": …}): more aliases of the site's, over those of the test's database."""
    before = connections.settings
    made: set[str] = set()

    def make(**given: dict[str, Any]) -> None:
        for alias, values in given.items():
            if alias in made:
                forget(alias)
            connections.settings[alias] = {**before["default"], "TEST": before["default"]["TEST"], **values}
            made.add(alias)

    def forget(alias: str) -> None:
        connections[alias].close()
        del connections[alias]
        del connections.settings[alias]

    yield make
    for alias in made:
        forget(alias)


def config(*options: str) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    command("pgbouncer", "config", *options, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def behind(bouncer: Bouncer) -> dict[str, Any]:
    """As DATABASES has the server behind it."""
    got = bouncer.behind
    names = {"NAME": got.path[1:], "USER": got.username, "PASSWORD": unquote(got.password or "")}
    return {**names, "HOST": got.hostname, "PORT": str(got.port), "OPTIONS": {}}


@pytest.mark.every_pgbouncer
def test_a_pgbouncer_on_what_was_written_from_nothing_serves_the_sites_database(
    bouncer: Bouncer, declare: Any, site: Any, tmp_path: Path
) -> None:
    declare(bouncer, DATABASES={"app": {"max_size": 3, "pool_mode": "session"}, "other": {}}, POOL={"max_size": 7})
    site(app=behind(bouncer), other=behind(bouncer))
    bouncer.stop()
    fresh = bouncer.directory / "fresh"
    fresh.mkdir(mode=0o755)
    if (entry := account.unprivileged()) is not None:
        os.chown(fresh, entry.pw_uid, entry.pw_gid)
    bouncer.ini, bouncer.users = fresh / "pgbouncer.ini", fresh / "userlist.txt"
    shown, _ = config("--ini", str(bouncer.ini))
    assert not bouncer.ini.exists()
    assert "Nothing is written without --write." in shown
    config("--ini", str(bouncer.ini), "--write")
    assert stat.S_IMODE(bouncer.users.stat().st_mode) == 0o600
    assert bouncer.users.stat().st_uid == fresh.stat().st_uid
    # The user may not read verifiers; nobody needs the plain password of the console's.
    assert re.search(rf'^"{ADMIN}" "SCRAM-SHA-256\$4096:', bouncer.users.read_text(), re.MULTILINE)
    bouncer.start()
    with bouncer.client() as client, bouncer.client("other") as other:
        assert client.execute("SELECT current_database()").fetchone() == (bouncer.behind.path[1:],)
        other.execute("SELECT 1")
    rows = {row["name"]: row for row in bouncer.console("SHOW DATABASES")}
    assert [(rows[name]["pool_size"], rows[name]["pool_mode"]) for name in ("app", "other")] == [
        (3, "session"),
        (7, None),
    ]
    assert bouncer.setting("default_pool_size") == "7"
    assert config("--ini", str(bouncer.ini))[0] == f"{bouncer.ini} and {bouncer.users} are as they should be.\n"


@pytest.mark.every_pgbouncer
def test_a_profile_is_written_reloaded_and_read_back_and_the_rest_is_left(
    bouncer: Bouncer, declare: Any, site: Any
) -> None:
    declare(bouncer, DATABASES={"app": {"max_size": 4}})
    site(app=behind(bouncer))
    text = bouncer.ini.read_text().replace("dbname=", "connect_query='select ''it''' dbname=")
    text = text.replace("[databases]", "; ours\n[databases]\nextra = host=10.0.0.1 dbname=x")
    text = text.replace("[pgbouncer]", "# theirs\n[pgbouncer]")
    bouncer.put(bouncer.ini, text + "auth_query = SELECT usename, passwd FROM pg_shadow WHERE usename=$1\n")
    bouncer.ini.chmod(0o640)
    owner = bouncer.ini.stat().st_uid
    bouncer.console("RELOAD")
    values = PGBOUNCER.make_spec({"max_size": 9, "pool_mode": "transaction", "idle_timeout": 50}).to_dict()
    profiles.save_profile(PoolProfile(target=TARGET, **values), "ann")
    shown, _ = config("--write", "--reload")  # where its file is the running one tells
    assert "+default_pool_size = 9" in shown
    assert "pool_size=4" in shown
    assert "Reloaded, and read back: all is as the files should say." in shown
    assert (bouncer.setting("default_pool_size"), bouncer.setting("server_idle_timeout")) == ("9", "50")
    [row] = [row for row in bouncer.console("SHOW DATABASES") if row["name"] == "app"]
    assert row["pool_size"] == 4
    now = bouncer.ini.read_text()
    for kept in (
        "; ours",
        "# theirs",
        "extra = host=10.0.0.1 dbname=x",
        "connect_query='select ''it'''",
        "auth_query = SELECT",
    ):
        assert kept in now
    gone = [line.partition(" ")[0] for line in text.splitlines() if line not in now.splitlines()]
    assert gone == ["app"]
    assert (stat.S_IMODE(bouncer.ini.stat().st_mode), bouncer.ini.stat().st_uid) == (0o640, owner)
    [backup] = bouncer.directory.glob("pgbouncer.ini.*.bak")
    assert backup.read_text().startswith(text)
    assert (stat.S_IMODE(backup.stat().st_mode), backup.stat().st_uid) == (0o640, owner)
    with bouncer.client() as client:
        client.execute("SELECT 1")
    assert "are as they should be" in config()[0]


@pytest.mark.every_pgbouncer
def test_verifiers_are_taken_where_the_account_may_read_them_and_clients_log_in_with_them(
    bouncer: Bouncer, declare: Any, site: Any, postgres: EmbeddedPostgres
) -> None:  # P13
    declare(bouncer)
    above = urlsplit(postgres.superuser_url())
    site(
        app={**behind(bouncer), "USER": above.username, "PASSWORD": unquote(above.password or "")},
        seen=through(bouncer),
    )
    shown, _ = config("--from", "app=app", "--write", "--reload")
    listed = bouncer.users.read_text()
    secret = unquote(bouncer.behind.password or "")
    for user in (above.username, bouncer.behind.username):
        assert re.search(rf'^"{user}" "SCRAM-SHA-256\$', listed, re.MULTILINE)
        assert f'"{user}" "SCRAM-SHA-256$***"' in shown
    # What was there is shown as taken away, and no secret of either.
    assert f'-"{bouncer.behind.username}" "***"' in shown
    assert not any(each in shown for each in (secret, PASSWORD, *re.findall(r"\$4096:[^\"]+", listed)))
    bouncer.stop()
    bouncer.start()  # so that it remembers nobody
    with bouncer.client() as client:
        client.execute("SELECT 1")


@pytest.mark.long
def test_whatever_stands_in_a_password_its_user_is_let_in(
    bouncer: Bouncer, declare: Any, site: Any, postgres: EmbeddedPostgres
) -> None:
    secret = """p"a'ss \\ w=rd ;#%ü"""
    declare(bouncer)
    with psycopg.connect(postgres.superuser_url(), autocommit=True) as console:
        console.execute(sql.SQL("CREATE ROLE odd LOGIN PASSWORD {}").format(sql.Literal(secret)))
    try:
        site(app={**behind(bouncer), "USER": "odd", "PASSWORD": secret})
        shown, _ = config("--write", "--reload")
        assert secret not in shown
        where = {"host": "127.0.0.1", "port": bouncer.port, "user": "odd", "password": secret, "dbname": "app"}
        with psycopg.connect(**where, connect_timeout=5) as client:
            assert client.execute("SELECT current_user::text").fetchone() == ("odd",)
        with pytest.raises(CommandError, match="the password of 'odd' holds a line break"):
            site(app={**behind(bouncer), "USER": "odd", "PASSWORD": "a\nb"})
            config("--write")
    finally:
        bouncer.stop()
        with psycopg.connect(postgres.superuser_url(), autocommit=True) as console:
            console.execute("DROP ROLE odd")


@pytest.mark.long
@pytest.mark.parametrize(
    "secret", ["a\u00adb", "a\u00a0b", "a\u200bb", "ﬁ", "\x07ﬁ", "\ue000ﬁ", "\u0627ﬁ", "é" * 60, "  ", "100%"]
)
def test_a_verifier_is_as_the_server_s_whatever_is_made_of_a_password(
    secret: str, bouncer: Bouncer, declare: Any, site: Any, postgres: EmbeddedPostgres
) -> None:
    with psycopg.connect(postgres.superuser_url(), autocommit=True) as console:
        console.execute(sql.SQL("CREATE ROLE odd LOGIN PASSWORD {}").format(sql.Literal(secret)))
        entry = console.execute("SELECT rolpassword FROM pg_authid WHERE rolname = 'odd'").fetchone()
        console.execute("DROP ROLE odd")
    assert entry is not None
    assert fits(entry[0], "odd", secret)
    # The console's user is let in by one of our making.
    declare(bouncer, URL=bouncer.console_url("newcomer", quote(secret)))
    site(app=behind(bouncer))
    bouncer.put(
        bouncer.ini, bouncer.ini.read_text().replace(f"admin_users = {ADMIN}", f"admin_users = {ADMIN}, newcomer")
    )
    config("--ini", str(bouncer.ini), "--write")
    bouncer.console("RELOAD")
    config("--reload")


@pytest.mark.long
def test_several_processes_with_a_file_each_are_written_one_by_one(
    bouncer: Bouncer, make_bouncer: MADE, declare: Any, site: Any
) -> None:
    other = make_bouncer({"app": ""})
    declare(bouncer, OTHER_URLS=[other.console_url()], POOL={"budget": 8})
    site(app=behind(bouncer))
    _, notes = config("--write", "--reload", "--ini", str(other.ini))
    assert f"PgBouncer at 127.0.0.1:{bouncer.port} reads {bouncer.ini}, and was not told to." in notes
    assert (other.setting("max_db_connections"), bouncer.setting("max_db_connections")) == ("4", "0")
    config("--write", "--reload")
    assert bouncer.setting("max_db_connections") == "4"
    with pytest.raises(CommandError, match="nobody was told to read"):
        config("--reload", "--ini", str(other.directory / "another.ini"), "--write")


def through(bouncer: Bouncer) -> dict[str, Any]:
    """As DATABASES has what leads to it."""
    return {**behind(bouncer), "NAME": "app", "PORT": str(bouncer.port)}


@pytest.mark.long
def test_while_the_control_database_is_away_the_settings_alone_can_be_followed(
    bouncer: Bouncer, declare: Any, site: Any, settings: Any
) -> None:  # P11
    declare(bouncer, POOL={"max_size": 7})
    site(app=behind(bouncer), away={**behind(bouncer), "PORT": "1"})
    settings.POOLMGR = {**settings.POOLMGR, "CONTROL_DATABASE": "away"}
    with pytest.raises(CommandError, match="--no-profile follows the settings alone"):
        config()
    assert "+default_pool_size = 7" in config("--no-profile", "--from", "app=app")[0]


@pytest.mark.long
def test_tls_towards_the_server_is_as_its_alias_has_it(bouncer: Bouncer, declare: Any, site: Any) -> None:
    declare(bouncer)
    site(app={**behind(bouncer), "OPTIONS": {"sslmode": "prefer", "sslrootcert": "/etc/ssl/ca.pem"}})
    shown, _ = config()
    assert "+server_tls_sslmode = prefer" in shown
    assert "+server_tls_ca_file = /etc/ssl/ca.pem" in shown
    site(also={**behind(bouncer), "OPTIONS": {"sslmode": "require"}})
    declare(bouncer, DATABASES=["app", "also"])
    with pytest.raises(CommandError) as caught:
        config()
    assert str(caught.value) == (
        "DATABASES['app'] and DATABASES['also'] want server_tls_sslmode prefer and require, but PgBouncer has one for all"
        " servers."
    )


@pytest.mark.long
@pytest.mark.parametrize(
    ("options", "told"),
    [
        # libpq looks at the certificate then, and PgBouncer does not.
        ({"sslmode": "require", "sslrootcert": "/etc/ca.pem"}, "+server_tls_sslmode = verify-ca"),
        (
            {"sslmode": "verify-full", "sslrootcert": "system"},
            "has system as sslrootcert, but PgBouncer needs the whole path",
        ),
        (
            {"sslmode": "verify-full", "sslrootcert": "ca.pem"},
            "has ca.pem as sslrootcert, but PgBouncer needs the whole path",
        ),
        ({"sslcrl": "/etc/crl.pem"}, "Note: DATABASES['app'] has sslcrl, which PgBouncer has no setting for."),
    ],
)
def test_nothing_of_tls_is_less_than_its_alias_has_it(
    options: dict[str, str], told: str, bouncer: Bouncer, declare: Any, site: Any
) -> None:
    declare(bouncer)
    site(app={**behind(bouncer), "OPTIONS": options})
    try:
        assert told in "".join(config())
    except CommandError as error:
        assert told in str(error)  # noqa: PT017


@pytest.mark.long
def test_a_certificate_is_looked_at_as_the_alias_has_it(bouncer: Bouncer, declare: Any, site: Any) -> None:
    declare(bouncer)
    right, wrong = (Authority(bouncer.directory, name) for name in ("right", "wrong"))
    for each in (right, wrong):
        each.file.chmod(0o644)
    front = TlsFront(bouncer.behind.port or 0, right.server_side("127.0.0.1"), asked=True)
    try:
        for authority, mode in ((right, "verify-full"), (right, "require"), (wrong, "require")):
            options = {"sslmode": mode, "sslrootcert": str(authority.file)}
            site(app={**behind(bouncer), "PORT": str(front.port), "OPTIONS": options})
            config("--from", "app=app", "--write", "--reload")
            bouncer.stop()  # so that no connection to the server is an older one
            bouncer.start()
            if authority is right:
                with bouncer.client() as client:
                    client.execute("SELECT 1")
                assert "TLS" in bouncer.console("SHOW SERVERS")[0]["tls"]
            else:
                with pytest.raises(psycopg.Error):
                    bouncer.client(connect_timeout=2)
    finally:
        front.close()


@pytest.mark.long
def test_a_server_that_has_moved_leaves_nothing_of_its_place(bouncer: Bouncer, declare: Any, site: Any) -> None:
    declare(bouncer)
    site(app={**behind(bouncer), "HOST": "", "PORT": ""})
    assert f"+app = dbname={bouncer.behind.path[1:]}" in config("--from", "app=app")[0]  # by a socket, as libpq would
    site(app={**behind(bouncer), "HOST": "", "OPTIONS": {"hostaddr": "127.0.0.1"}})
    assert "as they should be" in config("--from", "app=app")[0]


@pytest.mark.long
def test_it_is_never_given_itself_for_a_server(bouncer: Bouncer, declare: Any, site: Any) -> None:
    declare(bouncer, URL=f"postgresql://{ADMIN}:{PASSWORD}@:{bouncer.port}/pgbouncer?host=/tmp")
    site(app=through(bouncer))
    assert "as they should be" in config("--ini", str(bouncer.ini))[0]
    # By another name or address that it doesn't know for its own.
    declare(bouncer)
    site(app={**through(bouncer), "HOST": "127.0.0.2"})
    bouncer.write(listen_addr="127.0.0.1,127.0.0.2")
    bouncer.stop()
    bouncer.start()
    assert "Note: DATABASES['app'] leads to a pooler itself, maybe this one" in config()[1]


@pytest.mark.long
def test_what_an_existing_file_leaves_to_others_is_not_said_in_it(bouncer: Bouncer, declare: Any, site: Any) -> None:
    declare(bouncer, URL=bouncer.console_url(ONLOOKER), POOL={"max_size": 7})
    site(app=behind(bouncer))
    lines = bouncer.ini.read_text().splitlines()
    elsewhere = [line for line in lines if line.startswith(("auth_", "admin_users"))]
    bouncer.put(
        bouncer.ini, "\n".join(line for line in lines if not line.startswith(("auth_type", "admin_users"))) + "\n"
    )
    # md5 is PgBouncer's own default, and who looks on is not made one who may everything.
    shown = "".join(config("--ini", str(bouncer.ini)))
    assert [line for line in shown.splitlines() if line.startswith("+")][1:] == ["+default_pool_size = 7"]
    common = bouncer.directory / "common.ini"
    bouncer.put(common, "\n".join(elsewhere) + "\n")
    kept = "\n".join(line for line in lines if line not in elsewhere) + "\n"
    bouncer.put(bouncer.ini, kept.replace("[pgbouncer]", f"[pgbouncer]\n%include {common}"))
    with pytest.raises(CommandError, match="says nothing of auth_file, and includes other files: say by --userlist"):
        config("--ini", str(bouncer.ini))
    shown, notes = config("--ini", str(bouncer.ini), "--userlist", str(bouncer.users))
    assert [line for line in shown.splitlines() if line.startswith("+")][1:] == ["+default_pool_size = 7"]
    assert "includes other files" in notes


@pytest.mark.long
def test_what_a_user_has_before_the_target_s_settings_is_told(bouncer: Bouncer, declare: Any, site: Any) -> None:
    declare(bouncer, POOL={"pool_mode": "session"})
    site(app=behind(bouncer))
    bouncer.put(bouncer.ini, bouncer.ini.read_text() + "[users]\nann = pool_mode=statement max_user_connections=4\n")
    _, notes = config("--write", "--reload")
    assert (
        f"Note: {bouncer.ini} has pool_mode of its own for the user 'ann', which goes before the target's.\n" in notes
    )


@pytest.mark.long
def test_a_verifier_of_md5_is_taken_where_clients_log_in_so(
    bouncer: Bouncer, declare: Any, site: Any, postgres: EmbeddedPostgres
) -> None:
    with psycopg.connect(postgres.superuser_url(), autocommit=True) as console:
        console.execute("SET password_encryption = 'md5'")
        console.execute("CREATE ROLE older LOGIN PASSWORD 'of old'")
    try:
        declare(bouncer)
        above = urlsplit(postgres.superuser_url())
        site(
            app={**behind(bouncer), "USER": above.username, "PASSWORD": unquote(above.password or "")},
            seen={**through(bouncer), "USER": "older", "PASSWORD": "of old"},
        )
        config("--from", "app=app", "--write")
        assert Userlist(bouncer.users.read_text()).get("older") == "of old"  # nobody is let in by the other with SCRAM
        bouncer.write(auth_type="md5")
        config("--from", "app=app", "--write")
        assert is_md5(Userlist(bouncer.users.read_text()).get("older") or "")
    finally:
        with psycopg.connect(postgres.superuser_url(), autocommit=True) as console:
            console.execute("DROP ROLE older")


@pytest.mark.long
def test_a_password_that_another_server_needs_too_is_no_verifier_of_one(
    bouncer: Bouncer, declare: Any, site: Any, postgres: EmbeddedPostgres
) -> None:
    above = urlsplit(postgres.superuser_url())
    site(
        app={**behind(bouncer), "USER": above.username, "PASSWORD": unquote(above.password or "")},
        seen=through(bouncer),
    )
    declare(bouncer)
    before = bouncer.ini.read_text()
    bouncer.put(bouncer.ini, before.replace("[databases]", "[databases]\nlegacy = host=10.0.0.1 dbname=x"))
    config("--from", "app=app", "--write")
    user, password = bouncer.behind.username or "", unquote(bouncer.behind.password or "")
    assert Userlist(bouncer.users.read_text()).get(user) == password
    # Which it does not where PgBouncer logs in there as somebody of its own.
    bouncer.put(bouncer.ini, before.replace("[databases]", "[databases]\nlegacy = host=10.0.0.1 dbname=x user=other"))
    config("--from", "app=app", "--write")
    assert is_verifier(Userlist(bouncer.users.read_text()).get(user) or "")


@pytest.mark.long
def test_a_userlist_that_pgbouncer_can_not_read_is_told(bouncer: Bouncer, declare: Any, site: Any) -> None:
    declare(bouncer)
    site(app={**behind(bouncer), "USER": "newcomer", "PASSWORD": "secret"})
    config("--write")
    moved = bouncer.users.rename(bouncer.directory / "moved")
    bouncer.users.symlink_to(moved)
    bouncer.directory.joinpath("moved").chmod(0)
    out, err = io.StringIO(), io.StringIO()
    if (entry := account.unprivileged()) is not None:
        os.chown(moved, 0, 0)
        assert entry.pw_uid
        with pytest.raises(CommandError, match="After RELOAD not all is as the files should say"):
            command("pgbouncer", "config", "--reload", stdout=out, stderr=err)
        assert "does not know 'newcomer', who is in" in err.getvalue()


@pytest.mark.long
def test_where_the_server_is_not_known_the_line_is_kept_or_asked_for(
    bouncer: Bouncer, declare: Any, site: Any
) -> None:  # P9
    declare(bouncer)
    site(seen=through(bouncer))
    before = bouncer.ini.read_text()
    config("--write")
    assert next(line for line in before.splitlines() if line.startswith("app =")) in bouncer.ini.read_text()
    declare(bouncer, DATABASES=["app", "elsewhere"])
    for options, told in (
        (
            (),
            f"no database of DATABASES leads to the server of 'elsewhere', and {bouncer.ini} has no line of it: name one by",
        ),
        (("--from", "elsewhere=seen"), "DATABASES['seen'] leads to this PgBouncer itself"),
        (("--from", "elsewhere=nobody"), "'nobody' is no PostgreSQL database of this site; there are: default"),
        (("--from", "missing=default"), "'bouncer' has no such database; it has app, elsewhere"),
    ):
        with pytest.raises(CommandError) as caught:
            config(*options)
        assert told in str(caught.value)
    config("--from", "elsewhere=default", "--write", "--reload")
    with bouncer.client("elsewhere") as client:
        assert client.execute("SELECT current_database()").fetchone() == (connections["default"].settings_dict["NAME"],)


@pytest.mark.long
def test_who_may_log_in_by_auth_query_alone_stays_out_of_the_userlist(
    bouncer: Bouncer, declare: Any, site: Any
) -> None:
    declare(bouncer)
    site(app={**behind(bouncer), "USER": "asked_for", "PASSWORD": "something"})
    bouncer.put(bouncer.ini, bouncer.ini.read_text() + f"auth_user = {bouncer.behind.username}\n")
    before = bouncer.users.read_text()
    _, notes = config("--write")
    assert bouncer.users.read_text() == before
    assert "DATABASES['app'] can't be asked for verifiers: the server refuses the password" in notes


@pytest.mark.long
@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"OPTIONS": {"service": "main"}, "NAME": ""}, "DATABASES['app'] names a service of libpq's"),
        ({"HOST": "a,b", "PORT": "1,2"}, "DATABASES['app'] has a PORT for each of several hosts"),
    ],
)
def test_an_alias_of_which_pgbouncer_knows_no_word_is_refused(
    values: dict[str, Any], told: str, bouncer: Bouncer, declare: Any, site: Any
) -> None:  # P9
    declare(bouncer)
    site(app={**behind(bouncer), **values})
    with pytest.raises(CommandError) as caught:
        config("--from", "app=app")
    assert told in str(caught.value)


@pytest.mark.long
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[databases]\napp = host=\n[pgbouncer]\n[pgbouncer]\n", "has the section [pgbouncer] more than once"),
        ("[databases]\napp = hello there\n", "the line of 'app' in"),
        ("[pgbouncer]\nauth_file = {ini}\n", "can't be the userlist too"),
        ("[pgbouncer]\nauth_file = users.txt\n", "relative to where PgBouncer was started: say by --userlist"),
    ],
)
def test_a_file_that_can_not_be_edited_is_left_as_it_is(
    text: str, told: str, bouncer: Bouncer, declare: Any, tmp_path: Path
) -> None:  # P9
    declare(bouncer)
    ini = tmp_path / "pgbouncer.ini"
    ini.write_text(text := text.replace("{ini}", str(ini)))
    with pytest.raises(CommandError) as caught:
        config("--ini", str(ini), "--write", "--from", "app=default")
    assert told in str(caught.value)
    assert (ini.read_text(), list(tmp_path.iterdir())) == (text, [ini])


@pytest.mark.long
def test_what_only_a_restart_changes_and_what_it_does_not_read_is_told(
    bouncer: Bouncer, declare: Any, site: Any
) -> None:
    declare(bouncer, POOL={"max_size": 7})
    site(app=behind(bouncer))
    config("--write", "--reload")
    # A line that it can't read, for which versions below 1.25 answer RELOAD as if all were well.
    bouncer.put(bouncer.ini, "nonsense\n" + bouncer.ini.read_text())
    declare(bouncer, POOL={"max_size": 8})
    out, err = io.StringIO(), io.StringIO()
    with pytest.raises(CommandError) as caught:
        command("pgbouncer", "config", "--write", "--reload", stdout=out, stderr=err)
    if bouncer.version < (1, 25):
        assert str(caught.value) == "After RELOAD not all is as the files should say; its log tells what it can't read."
        assert "has default_pool_size 7, and not 8" in err.getvalue()
    else:
        assert "PgBouncer can't read what its file says, and goes on as before" in str(caught.value)


@pytest.mark.long
def test_what_is_declared_of_one_database_and_not_written_is_told_on_the_page(bouncer: Bouncer, declare: Any) -> None:
    declare(bouncer, DATABASES={"app": {"max_size": 3}})
    pool = manager(TARGET)
    assert isinstance(pool, BouncerPool)
    pool.open()
    pool.lead(inf)
    try:
        until(lambda: pool.problem, "it to be told")
        assert pool.problem == (
            f"PgBouncer at {pool.address} has default_pool_size 20 for 'app', of which 3 is declared: write its file by"
            " manage.py pgbouncer config"
        )
        config("--write", "--reload", "--from", "app=default")
        until(lambda: not pool.problem, "it to be over")
    finally:
        pool.close(5)


def test_without_a_target_it_says_what_there_is(settings: Any) -> None:  # P9
    settings.POOLMGR = {"AGENT": False}
    with pytest.raises(CommandError, match="declares no PgBouncer"):
        config()
    with pytest.raises(CommandError, match="'default' is no target whose pools are a server's own; there are: none"):
        config("default")
