"""Editing the files of a PgBouncer: what is not asked about stays, and no secret is shown."""

import fcntl
import os
import resource
import signal
import stat
import threading
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolmgr.exceptions import ConfigurationError
from poolmgr.targets.pgbouncer.files import connstring, userlist
from poolmgr.targets.pgbouncer.files.drafting import Drafts
from poolmgr.targets.pgbouncer.files.filing import difference
from poolmgr.targets.pgbouncer.files.ini import Ini
from poolmgr.targets.pgbouncer.files.replacing import Draft, read, replace_all
from poolmgr.targets.pgbouncer.files.userlist import Userlist
from poolmgr.targets.pgbouncer.files.verifiers import fits, verifier
from tests.forking import in_child

VALUES = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), max_size=20)
WORDS = st.dictionaries(st.sampled_from(["host", "dbname", "connect_query", "password", "pool_size"]), VALUES)


@given(WORDS)
def test_what_is_written_of_a_database_is_read_as_the_same(words: dict[str, str]) -> None:
    assert connstring.parse(connstring.render(words)) == words


def test_only_a_line_feed_ends_a_line() -> None:
    # As Python has it, many more would.
    text = '"ann" "a\x85b\u2028c\x0bd"\n; that\x0cis all'
    assert Userlist(text).get("ann") == "a\x85b\u2028c\x0bd"
    assert Userlist(text).text == f"{text}\n"
    with pytest.raises(ConfigurationError, match="holds a line break"):
        Userlist("").set("ann", "a\nb")


@pytest.mark.parametrize("text", ["hello there", "host=h dbname", "host='h", "host=h'x", "= h"])
def test_what_is_no_line_of_a_database_is_not_read(text: str) -> None:
    assert connstring.parse(text) is None
    assert connstring.masked(text) == "***"


TEXT = """; first
[databases]
app = host=h  dbname = d password='it''s a secret'
; app = host=old password=secret
[pgbouncer]
pool_mode = session

# last
pool_mode=transaction
[users]
ann = pool_mode=session
"""


def test_a_value_is_changed_where_it_counts_or_added_to_its_section_and_all_else_stays() -> None:
    ini = Ini(TEXT, "it")
    ini.set("pgbouncer", "pool_mode", "statement")
    ini.set("pgbouncer", "min_pool_size", "1")
    ini.set("databases", "app", ini.get("databases", "app") or "")
    ini.set("peers", "1", "host=/tmp")
    assert ini.text == TEXT.replace("pool_mode=transaction\n", "pool_mode = statement\nmin_pool_size = 1\n") + (
        "\n[peers]\n1 = host=/tmp\n"
    )
    assert Ini("", "it").get("pgbouncer", "pool_mode") is None


@given(st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), min_size=1, max_size=12), VALUES)
def test_a_user_of_a_userlist_is_found_again_and_shown_without_what_lets_it_in(user: str, secret: str) -> None:  # P13
    listed = Userlist('; who\n"other" "pw"\n')
    listed.set(user, secret)
    assert listed.get(user) == secret
    shown = userlist.masked(listed.text.splitlines()[-1])
    assert shown == userlist.masked(shown)
    assert shown.endswith('***"')


def test_a_difference_shows_that_secrets_change_and_none_of_them() -> None:  # P13
    ini = Draft(Path("/a/pgbouncer.ini"), TEXT, TEXT.replace("host=h ", "host=i "), closed=False)
    people = '"ann" "secret one"\n; "bob" "secret two"\n'
    changed = people.replace("secret one", verifier("secret one"))
    lines = difference(Drafts(ini, Draft(Path("/a/users"), people, changed, closed=True), {}, {}, ()))
    assert "secret" not in "".join(lines)
    assert '-"ann" "***"' in lines
    assert '+"ann" "SCRAM-SHA-256$***"' in lines
    assert "-app = host=h dbname=d password=***" in lines
    assert "+app = host=i dbname=d password=***" in lines


def test_a_section_may_have_a_comment_beside_it_and_nothing_else() -> None:
    ini = Ini("[pgbouncer] ; the whole\nauth_file = /a\n", "it")
    ini.set("pgbouncer", "pool_mode", "session")
    assert ini.text == "[pgbouncer] ; the whole\nauth_file = /a\npool_mode = session\n"
    # PgBouncer takes this for a setting.
    with pytest.raises(ConfigurationError, match="more than a section's name"):
        Ini("[pgbouncer] auth_file = /a\n", "it")


def test_which_entries_let_a_password_in() -> None:
    assert fits("pässword", "ann", "pässword")
    assert fits(verifier("pässword"), "ann", "pässword")
    assert not fits(verifier("pässword"), "ann", "password")
    # As PostgreSQL keeps "secret" for the user "ann" where password_encryption is md5.
    assert fits("md59d792a3a8853c2411afb9163d088c036", "ann", "secret")
    assert not fits("md59d792a3a8853c2411afb9163d088c036", "bob", "secret")
    assert not fits("other", "ann", "secret")


def test_of_two_files_the_first_is_put_back_where_the_second_can_not_be_replaced(tmp_path: Path) -> None:
    users, new, ini = tmp_path / "users", tmp_path / "new", tmp_path / "ini"
    users.write_text("1\n")

    class Meanwhile(datetime):
        def __format__(self, form: str) -> str:  # which the names of backups are made by
            ini.mkdir(exist_ok=True)
            return "then"

    drafts = [Draft(users, "1\n", "2\n", closed=True), Draft(new, None, "2\n", closed=True)]
    with pytest.raises(ConfigurationError, match="ini can't be replaced, and all is as it was: Is a directory"):
        replace_all([*drafts, Draft(ini, None, "x\n", closed=False)], Meanwhile.now())
    assert (users.read_text(), {*tmp_path.iterdir()}) == ("1\n", {users, ini})


def test_nothing_is_written_where_there_is_no_room(tmp_path: Path) -> None:
    one = tmp_path / "one"
    one.write_text("1\n")
    most, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        with pytest.raises(ConfigurationError, match=f"nothing can be written into {tmp_path}: File too large"):
            replace_all([Draft(one, "1\n", "2\n" * 10, closed=False)], datetime.now())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    assert (one.read_text(), [*tmp_path.iterdir()]) == ("1\n", [one])


def test_who_could_read_a_file_of_secrets_can_and_nobody_else(tmp_path: Path) -> None:
    users, ini = tmp_path / "users", tmp_path / "ini"
    users.write_text("1\n")
    users.chmod(0o644)
    ini.write_text("x\n")
    ini.chmod(0o640)
    new = tmp_path / "new"
    replace_all([Draft(users, "1\n", "2\n", closed=True), Draft(new, None, "2\n", True, like=ini)], datetime.now())
    assert [stat.S_IMODE(each.stat().st_mode) for each in (users, new)] == [0o640, 0o640]


def test_of_two_who_write_at_once_the_second_sees_what_the_first_has_written(tmp_path: Path) -> None:
    one = tmp_path / "one"
    one.write_text("1\n")
    told: list[ConfigurationError] = []

    def write(number: int) -> None:
        try:
            replace_all([Draft(one, "1\n", f"{number}\n", closed=False)], datetime(2026, 1, 1, microsecond=number))
        except ConfigurationError as error:
            told.append(error)

    handle = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)  # so that both have begun before either can go on
    threads = [threading.Thread(target=write, args=(number,)) for number in (2, 3)]
    for thread in threads:
        thread.start()
    os.close(handle)
    for thread in threads:
        thread.join()
    assert len(told) == 1
    assert "was changed meanwhile" in str(told[0])


def test_who_was_killed_in_the_middle_leaves_nothing_to_whoever_comes_next(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for each in (one, other):
        each.write_text("1\n")
    drafts = [Draft(each, "1\n", "2\n", closed=True) for each in (one, other)]

    class Fatal(datetime):
        def __format__(self, form: str) -> str:  # which the names of backups are made by
            os.kill(os.getpid(), signal.SIGKILL)
            return ""

    with pytest.raises(AssertionError, match=f"ended with -{signal.SIGKILL:d}"):
        in_child(lambda: replace_all(drafts, Fatal.now()))
    assert len([*tmp_path.iterdir()]) == 4
    kept = replace_all(drafts, datetime.now())
    assert {*tmp_path.iterdir()} == {one, other, *kept}


def test_either_all_files_are_replaced_or_none(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("1\n")
    drafts = [Draft(one, "1\n", "2\n", closed=True), Draft(tmp_path / "missing" / "x", None, "y\n", closed=False)]
    with pytest.raises(ConfigurationError, match=r"nothing can be written into .*: No such file"):
        replace_all(drafts, datetime.now())
    drafts[1] = Draft(other, "what it was", "y\n", closed=False)
    with pytest.raises(ConfigurationError, match="was changed meanwhile"):
        replace_all(drafts, datetime.now())
    assert (one.read_text(), [*tmp_path.iterdir()]) == ("1\n", [one])
    # Whatever stands there is not another thing by the time that it is written.
    one.write_bytes(b"1\r\n\xc3\xbc\n")
    assert read(one) == "1\r\nü\n"
    one.write_text("1\n")
    # A link stays one.
    other.symlink_to(one)
    [kept] = replace_all([Draft(other, "1\n", "2\n", closed=True)], datetime.now())
    assert (other.is_symlink(), one.read_text(), kept.read_text()) == (True, "2\n", "1\n")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
