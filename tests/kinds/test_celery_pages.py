"""What an operator sees of a broker: its form, its card, and why it can't be paused."""

import json
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from django.test import Client

from poolmgr.control.access import control_database
from poolmgr.control.commanding import commands
from poolmgr.control.following.orders import Orders, orders_for
from poolmgr.models import Acknowledgement, Command, PoolProfile
from poolmgr.pools import registry
from poolmgr.targets.kombu.joining import join
from poolmgr.targets.kombu.kind import KOMBU
from poolsite.demo.servers import EmbeddedRedis
from tests.brokers import close_broker_pools
from tests.integration.console import beat, own_fleet, own_pool, person, signed_in
from tests.integration.test_admin_kinds import offered

pytestmark = pytest.mark.django_db(transaction=True)

TARGET = "broker"
TOLD = "Whoever sends a task would fail: a broker that is paused is an outage. Lower max_size instead."
#: What the settings name; each test makes it anew.
app: Celery


@pytest.fixture(autouse=True)
def _broker(settings: Any, redis_server: EmbeddedRedis) -> Iterator[None]:
    """A broker to which this process has sent something."""
    global app
    app = Celery("broker", broker=redis_server.url(13), set_as_current=False)
    own_fleet(settings, redis_server)
    declared = {TARGET: {"KIND": "kombu", "APP": f"{__name__}.app", "POOL": {"max_size": 3}}}
    settings.POOLMGR = {**settings.POOLMGR, "TARGETS": declared}
    join()
    for _ in range(2):
        app.send_task("work.nobody", queue=f"q{uuid.uuid4().hex[:8]}", ignore_result=True)
    pool = registry.get(TARGET)
    assert pool is not None
    beat(own_pool().snapshot(), pool.snapshot())
    yield
    registry.close(TARGET)
    close_broker_pools()
    app.close()
    settings.POOLMGR = {"AGENT": False}
    registry.set_desired({})


@pytest.fixture
def operator() -> Client:
    return signed_in(person("operator", superuser=True))


def test_the_form_offers_what_kombu_honours(operator: Client) -> None:
    page = operator.get(f"/admin/poolmgr/poolprofile/add/?target={TARGET}").content.decode()
    assert (
        offered(page)
        == {*KOMBU.honours}
        == {"max_size", "connection_timeout", "leak_threshold", "health_check_interval"}
    )
    assert "broker_pool_acquire_timeout" in page
    # Nor does it have headings with nothing below them.
    assert re.findall(r'class="pm-set-title"[^>]*>\s*([^<]*?)\s*<', page) == [
        "Who follows it", "Size and waiting", "Validation", "Diagnostics", "This edit"
    ]  # fmt: skip
    given = {"target": TARGET, "role": "", "enabled": "on", "note": ""}
    given |= {name: str(getattr(KOMBU.defaults, name)) for name in KOMBU.honours}
    assert operator.post("/admin/poolmgr/poolprofile/add/", {**given, "max_size": "7"}).status_code == 302
    assert PoolProfile.objects.get(target=TARGET).spec() == KOMBU.make_spec({"max_size": 7})


def test_the_card_offers_a_recycle_and_says_why_there_is_no_pause(operator: Client) -> None:
    page = operator.get("/pools/targets/broker/").content.decode()
    card = page.split('aria-label="broker"')[1].split('data-key="happened"')[0]
    assert "Celery broker" in card
    assert "kind=recycle&amp;target=broker" in card
    assert "kind=pause" not in card
    assert f"No pause: {TOLD}" in card
    others = (
        operator.get("/pools/targets/default/")
        .content.decode()
        .split('aria-label="default"')[1]
        .split('data-key="happened"')[0]
    )
    assert "kind=pause&amp;target=default" in others


@pytest.mark.parametrize("kind", ["pause", "resume"])
def test_a_pause_is_refused_whichever_way_it_comes(operator: Client, kind: str) -> None:
    told = KOMBU.denies[kind]
    for answer in (
        operator.get(f"/pools/confirm/?kind={kind}&target={TARGET}"),
        operator.post("/pools/command/", {"kind": kind, "target": TARGET}),
    ):
        assert answer.status_code == 400
        assert told in answer.content.decode()
    with pytest.raises(commands.Denied, match="is an outage"):
        commands.send(kind, TARGET, "ann")
    profile = PoolProfile(target=TARGET, **KOMBU.defaults.to_dict())
    profile.save()
    action = {"action": kind, "_selected_action": profile.pk, "confirmed": "yes"}
    page = operator.post("/admin/poolmgr/poolprofile/", action, follow=True).content.decode()
    assert f"“{TARGET}”: {told}" in page
    assert not Command.objects.exists()


def test_a_pause_that_comes_by_sql_is_answered_with_the_sentence() -> None:
    with control_database():
        row = commands.send("recycle", TARGET, "ann")
        Command.objects.filter(pk=row.pk).update(kind="pause")
        orders = Orders("me", lambda: None)
        assert orders.carry_out(orders_for("me"))
        orders.save()
        said = Acknowledgement.objects.get()
        assert (said.state, said.message) == ("failed", TOLD)
        assert not orders.carry_out(orders_for("me"))
    pool = registry.get(TARGET)
    assert pool is not None
    assert pool.snapshot().status == "open"


def test_a_recycle_is_carried_out(operator: Client) -> None:
    assert operator.post("/pools/command/", {"kind": "recycle", "target": TARGET}).status_code == 302
    with control_database():
        orders = Orders("me", lambda: None)
        assert orders.carry_out(orders_for("me"))
    pool = registry.get(TARGET)
    assert pool is not None
    assert pool.snapshot().generation == 2


@pytest.mark.long
def test_metrics_and_poolcheck_tell_of_it(
    operator: Client, site_environment: dict[str, str], settings: Any, redis_server: EmbeddedRedis
) -> None:
    text = operator.get("/pools/metrics").content.decode()
    [most] = [
        line
        for line in text.splitlines()
        if line.startswith('db_client_connection_max{db_client_connection_pool_name="broker"')
    ]
    assert most.endswith(" 3")
    poolmgr = {**settings.POOLMGR, "TARGETS": {TARGET: {"KIND": "kombu", "APP": "tests.kinds.celery_worker.app"}}}
    environment = {
        **site_environment,
        "DJANGO_SETTINGS_MODULE": "tests.kinds.celery_settings",
        "TEST_POOLMGR": json.dumps(poolmgr),
        "TEST_BROKER": redis_server.url(13),
        "TEST_QUEUE": "q",
    }
    command = [sys.executable, "manage.py", "poolcheck", TARGET, "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    [told] = json.loads(done.stdout)["targets"]
    assert (told["target"], told["kind"], told["check"]["state"]) == (TARGET, "kombu", "ok"), done.stdout
