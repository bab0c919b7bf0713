"""The demo's self-check, where what it looks at is not as it must be: it says so, in a sentence."""

from types import SimpleNamespace

import pytest

from poolmgr.models import PoolProfile
from poolmgr.targets.kinds import KINDS
from poolmgr.targets.postgresql.kind import POSTGRESQL
from poolmgr.targets.redis.kind import REDIS
from poolsite.demo import operator as operating
from poolsite.demo.expecting import Failed
from poolsite.demo.operator import Operator
from tests.integration.console import PASSWORD, beat, calm, own_fleet, person

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def operator(live_server, settings, redis_server, monkeypatch):
    """Signed in to a site whose one process is this one, which follows no profile."""
    own_fleet(settings, redis_server)
    monkeypatch.setattr(operating, "PATIENCE", 0.3)
    person("operator", superuser=True)
    made = Operator(
        SimpleNamespace(url=live_server.url, password=PASSWORD, environment={"REDIS_URL": redis_server.url()})
    )
    made.log_in()
    beat(calm())
    return made


def test_a_wrong_password_is_said(operator):
    operator.site.password = "another"
    with pytest.raises(Failed, match="the log-in led to http"):
        operator.log_in(operating.Browser(operator.site.url))


def test_a_kind_that_the_site_has_no_target_of_is_named(operator, settings, redis_server):
    settings.POOLMGR = {
        **settings.POOLMGR,
        "TARGETS": {"results": {"KIND": "redis", "URL": redis_server.url(), "POOL": {}}},
    }
    with pytest.raises(Failed) as error:
        operator.targets()
    others = " and ".join(kind.label for kind in KINDS if kind not in (POSTGRESQL, REDIS) and not kind.elsewhere)
    assert str(error.value) == f"the demo has no target of the kind {others}: there are default, results"


def test_a_profile_that_is_not_in_force_is_said(operator):
    with pytest.raises(
        Failed, match=r"max_size 6 of default is not in force everywhere: \['web 4711: max_size \d+ by boot"
    ):
        operator.create("default", POSTGRESQL)
    assert PoolProfile.objects.get().max_size == 6
    with pytest.raises(Failed, match="max_size 5 of default is not in force everywhere"):
        operator.edit("default")
    assert PoolProfile.objects.get().max_size == 5


def test_a_form_of_another_kind_is_said(operator):
    with pytest.raises(Failed, match="the form for default lacks a setting of Redis, or offers one: pool_mode"):
        operator.create("default", REDIS)


def test_what_the_form_refuses_is_said(operator, monkeypatch):
    monkeypatch.setattr(operating, "FIRST_SIZE", 0)
    with pytest.raises(Failed, match=r"the admin did not save the profile of default: 200 at .*max_size"):
        operator.create("default", POSTGRESQL)
    assert not PoolProfile.objects.exists()


def test_a_profile_that_nobody_made_is_said(operator):
    with pytest.raises(Failed, match="the list of profiles has no link to that of default"):
        operator.edit("default")


def test_connections_that_a_recycle_left_are_said(operator):
    with pytest.raises(Failed, match=r"connections to default were left: \{'web 4711': '\[\d+.*\]'\} before, "):
        operator.recycle("default")
