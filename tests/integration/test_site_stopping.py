"""Whether anybody outlives the demo: grandchildren count, but for those that are about to end."""

import sys

import pytest

from poolsite.demo.processes import Child, ProcessError
from poolsite.demo.site import Options, Site
from tests.waiting import until

MASTER = "import subprocess; subprocess.Popen(['sleep', '{seconds}'])"


@pytest.fixture
def master(tmp_path):
    """master(seconds): the site, and its child that has ended and left one of its own behind, for so long."""
    made = []

    def one(seconds):
        site = Site(Options(tmp_path, port=None), say=lambda line: None)
        child = Child("web", [sys.executable, "-c", MASTER.format(seconds=seconds)], log=tmp_path / "web.log")
        site.children.append(child)
        made.append(child)
        until(lambda: not child.running, "the master to end")
        assert child.session_lives()
        return site

    yield one
    for child in made:
        child.kill()


def test_who_ends_a_moment_later_is_not_left_behind(master):
    assert master(2).stop_and_verify() == []


@pytest.mark.long
def test_who_stays_is_named(master):
    with pytest.raises(ProcessError, match="left behind: processes of web"):
        master(60).stop_and_verify()
