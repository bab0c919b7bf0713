"""The API: its documents are those that docs/api.md shows and a terminal prints, and nobody gets more than they may."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.test import Client
from django.urls import reverse
from msgspec.structs import replace

from poolmgr.control.reporting import looks as looking
from poolmgr.control.store import get_store
from poolmgr.models import Command, Event, PoolProfile
from tests.integration import shop
from tests.integration.console import beat, calm, own_fleet, person, signed_in
from tests.integration.test_poolctl import poolctl

pytestmark = pytest.mark.django_db(transaction=True)

V1 = "/pools/api/v1/"
DOC = Path(__file__).parents[2] / "docs" / "api.md"
TOKEN = "a token for scripts that read"
HOLDER = f"holders/{shop.WEB}/default/{shop.CHECKOUT}"


@pytest.fixture(autouse=True)
def _fleet(settings: Any, redis_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    own_fleet(settings, redis_server)
    settings.POOLMGR = {**settings.POOLMGR, "API_TOKEN": TOKEN}
    monkeypatch.setattr(looking.looks, "_seen", {})


@pytest.fixture
def operator() -> Client:
    return signed_in(person("ann", superuser=True))


@pytest.fixture
def answering() -> Iterator[None]:
    with shop.answering():
        yield


def bearer(token: str = TOKEN) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


# -- the documents ----------------------------------------------------------------------------------------------------

#: By the headings of docs/api.md.
ASKED: dict[str, Callable[[Client], Any]] = {
    "GET /pools/api/v1/": lambda client: client.get(V1),
    "GET status": lambda client: client.get(f"{V1}status"),
    "GET targets/<target>": lambda client: client.get(f"{V1}targets/default"),
    "GET why/<target>": lambda client: client.get(f"{V1}why/default"),
    "GET holders": lambda client: client.get(f"{V1}holders?target=default"),
    "GET holders/<uid>/<target>/<checkout>": lambda client: client.get(f"{V1}{HOLDER}?stack=1"),
    "GET uses": lambda client: client.get(f"{V1}uses?target=default"),
    "GET processes": lambda client: client.get(f"{V1}processes?role=web"),
    "GET processes/<uid>": lambda client: client.get(f"{V1}processes/{shop.WEB}"),
    "GET events": lambda client: client.get(f"{V1}events?target=default"),
    "GET episodes": lambda client: client.get(f"{V1}episodes?state=open"),
    "GET history/<target>": lambda client: client.get(f"{V1}history/default?range=1h"),
    "GET commands": lambda client: client.get(f"{V1}commands"),
    "POST commands": lambda client: ordered(client, kind="recycle", target="default"),
    "POST commands, of a holder": lambda client: ordered(
        client, kind="end", target="default", process=shop.WEB, checkout=shop.CHECKOUT
    ),
}
_EXAMPLE = re.compile(r"(?m)^### `([^`]+)`(, of a holder)?$(?s:.*?)^```json\n((?s:.*?))^```$")


def ordered(client: Client, **order: Any) -> Any:
    return client.post(f"{V1}commands", json.dumps(order), content_type="application/json")


def keys(value: Any) -> Any:
    """What of a document is stable: its keys at every depth; a list counts as one that has all that its items have."""
    if isinstance(value, dict):
        return {key: keys(each) for key, each in value.items()}
    if isinstance(value, list):
        found: dict[str, Any] = {}
        for each in value:
            if isinstance(each, dict):
                found |= keys(each)
        return [found]
    return None


def test_each_address_answers_as_the_documents_say(operator: Client, answering: None) -> None:
    shop.open_shop()
    told = {heading: ask(operator).json() for heading, ask in ASKED.items()}
    if os.environ.get("WRITE_EXAMPLES"):
        write(told)
    shown = {heading + more: json.loads(example) for heading, more, example in _EXAMPLE.findall(DOC.read_text())}
    assert shown.keys() == told.keys()
    for heading, document in told.items():
        assert keys(document) == keys(shown[heading]), heading
    listed = {each.removeprefix(V1) for each in told["GET /pools/api/v1/"]["addresses"]}
    assert listed == {each.split()[1].rstrip(",") for each in told} - {V1}


def write(told: dict[str, Any]) -> None:
    """Put what was answered into the page: WRITE_EXAMPLES=1 pytest -k as_the_documents_say."""

    def example(found: re.Match[str]) -> str:
        document = told[found[1] + (found[2] or "")]
        return found[0].removesuffix(f"{found[3]}```") + f"{laid_out(document)}\n```"

    DOC.write_text(_EXAMPLE.sub(example, DOC.read_text()))


def laid_out(value: Any, indent: str = "") -> str:
    """What fits on a line stands on one."""
    line = json.dumps(value, ensure_ascii=False)
    if len(indent) + len(line) <= 110 or not isinstance(value, dict | list):
        return line
    within = indent + "  "
    if isinstance(value, list):
        return "[\n" + ",\n".join(within + laid_out(each, within) for each in value) + f"\n{indent}]"
    parts = [f"{within}{json.dumps(key)}: {laid_out(each, within)}" for key, each in value.items()]
    return "{\n" + ",\n".join(parts) + f"\n{indent}}}"


def test_a_terminal_prints_the_same_documents(operator: Client, answering: None) -> None:
    shop.open_shop()
    name = f"{shop.CHECKOUT}@{shop.WEB}"
    asked = {
        "status": ("status",),
        "why/default": ("why", "default"),
        "holders": ("holders",),
        f"{HOLDER}?stack=1": ("stack", "default", name),
    }
    for address, words in asked.items():
        printed, told = json.loads(poolctl(*words, "--json")), operator.get(V1 + address).json()
        assert keys(printed) == keys(told), address
    events = json.loads(poolctl("events", "--json"))["events"]
    assert events == operator.get(f"{V1}events").json()["events"]
    sent = json.loads(poolctl("recycle", "default", "--author", "ann", "--json"))
    assert keys(sent) == keys(ordered(operator, kind="recycle", target="default").json())
    ended = json.loads(poolctl("end", "default", name, "--author", "ann", "--json"))
    assert ended == {
        "kind": "end", "target": "default", "checkout": shop.CHECKOUT, "author": "ann", "done": True, "message": "ended",
    }  # fmt: skip


def test_long_lists_are_read_in_parts_whoever_comes_and_goes(operator: Client) -> None:
    def parts(address: str, name: Any, limit: int, between: Any = None) -> list[list[Any]]:
        found, after = [], ""
        while after is not None:
            told = operator.get(f"{V1}{address}?target=default&limit={limit}{after and f'&after={after}'}").json()
            found.append([name(each) for each in told[address]])
            after = told["next"]
            if between:
                between()
        return found

    for n in range(7):
        holder = replace(shop.HOLDER, seconds=10.0 * n + 1, checkout=f"{n}.1")
        beat(shop.pool(holders=(holder, replace(holder, checkout=f"{n}.2"))), uid=f"web-{n}", pid=100 + n)
    named = [f"web-{n}" for n in range(7)]
    process, checkout = (lambda each: each["uid"]), (lambda each: each["checkout"])
    assert parts("processes", process, 3) == [named[:3], named[3:6], named[6:]]
    assert parts("processes", process, 7) == [named]
    oldest = [f"{n}.{which}" for n in reversed(range(7)) for which in (1, 2)]
    assert parts("holders", checkout, 5) == [oldest[:5], oldest[5:10], oldest[10:]]
    told = operator.get(f"{V1}holders").json()
    assert ([each["checkout"] for each in told["holders"]], told["next"]) == (oldest, None)
    # The last of the first part ends, and one comes before all others.
    changes = lambda: (get_store().forget("web-2"), beat(shop.pool(), uid="web-new", pid=99))  # noqa: E731
    assert parts("processes", process, 3, changes) == [named[:3], named[3:6], named[6:]]


def test_what_nobody_knows_is_null(operator: Client) -> None:
    [nobody] = operator.get(f"{V1}status").json()["targets"]
    assert (nobody["used"], nobody["oldest_checkout"], nobody["wait"]["p95"]) == (0, None, None)
    beat(calm(), uid="calm")
    told = operator.get(f"{V1}targets/default").json()
    assert (told["health"], told["oldest_wait"], told["last_timeout_at"]) == (None, None, None)


@pytest.mark.long
def test_without_a_store_nothing_of_the_fleet_is_told_as_nothing(operator: Client, settings: Any) -> None:  # P10
    settings.POOLMGR = {**settings.POOLMGR, "CONTROL_DATABASE": "default", "REDIS_URL": "redis://127.0.0.1:1/0"}
    told = operator.get(f"{V1}status").json()
    assert "Redis" in told["store_error"]
    assert told["store"] == "database"
    assert told["processes"] == 0


# -- who may ----------------------------------------------------------------------------------------------------------


def test_strangers_are_told_how_to_come_in() -> None:
    answer = Client().get(f"{V1}status")
    assert answer.status_code == 401
    assert answer["WWW-Authenticate"] == 'Bearer realm="poolmgr"'
    assert "Authorization: Bearer" in answer.json()["error"]


def test_the_token_reads_all_but_what_people_ran(answering: None) -> None:  # P13
    shop.open_shop()
    for heading, ask in ASKED.items():
        answer = ask(Client(headers=bearer()))
        if heading.startswith("POST"):
            assert (answer.status_code, "for reading alone" in answer.json()["error"]) == (403, True)
        elif heading.startswith("GET holders/<uid>"):
            assert (answer.status_code, answer.json()["permission"]) == (403, "poolmgr.read_statements")
        else:
            assert answer.status_code == 200, heading
            assert "UPDATE orders" not in answer.content.decode(), heading
    assert Command.objects.count() == 1
    for wrong in ("", "no", TOKEN + "!"):
        answer = Client(headers=bearer(wrong)).get(f"{V1}status")
        assert (answer.status_code, 'error="invalid_token"' in answer["WWW-Authenticate"]) == (401, True)


def test_without_a_setting_no_token_is_right(settings: Any) -> None:
    settings.POOLMGR = {**settings.POOLMGR, "API_TOKEN": None, "METRICS_TOKEN": TOKEN}
    for token in (TOKEN, "None", ""):
        assert Client(headers=bearer(token)).get(f"{V1}status").status_code == 401


def test_a_password_of_a_proxy_s_own_is_no_token(operator: Client) -> None:
    assert operator.get(f"{V1}status", headers={"Authorization": "Basic YTpi"}).status_code == 200


@pytest.mark.parametrize(
    ("permissions", "refused"),
    [
        ((), {"events": "view_event", "episodes": "view_event", "commands": "view_command"}),
        pytest.param(("view_event",), {"commands": "view_command"}, marks=pytest.mark.long),
        pytest.param(("view_command",), {"events": "view_event"}, marks=pytest.mark.long),
    ],
)
def test_events_and_orders_are_for_whom_the_admin_lets_read_them(
    permissions: tuple[str, ...], refused: dict[str, str]
) -> None:
    shop.open_shop()
    client = signed_in(person("reader", "view_poolprofile", *permissions))
    for address, permission in refused.items():
        answer = client.get(V1 + address)
        assert (answer.status_code, answer.json()["permission"]) == (403, f"poolmgr.{permission}")
    why, process = (client.get(V1 + each).json() for each in ("why/default", f"processes/{shop.WEB}"))
    assert (why["since"] is None, why["just_before"] is None) == ("view_event" not in permissions,) * 2
    assert (process["process"]["acknowledgements"] is None) == ("view_command" not in permissions)


def test_statements_and_stacks_are_for_whoever_may_read_them(answering: None) -> None:  # P13
    shop.open_shop()
    client = signed_in(person("viewer", "view_poolprofile"))
    for address in ("holders", "targets/default", "why/default", f"processes/{shop.WEB}", HOLDER):
        text = client.get(V1 + address).content.decode()
        assert "GET /reports/" in text or "10.0.0.5" in text
        assert "orders" not in text.replace("/orders/", ""), address
        assert "/srv/shop" not in text, address
    answer = client.get(f"{V1}{HOLDER}?stack=1")
    assert (answer.status_code, answer.json()["permission"]) == (403, "poolmgr.read_statements")


# -- orders -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["recycle", "pause", "resume"])
def test_orders_are_kept_with_their_author(operator: Client, kind: str) -> None:
    shop.web()
    answer = ordered(operator, kind=kind, target="default", process=shop.WEB)
    sent = Command.objects.get()
    assert (answer.status_code, answer.json()["id"]) == (202, sent.pk)
    assert (sent.kind, sent.target, sent.process, sent.author) == (kind, "default", shop.WEB, "ann")
    assert Event.objects.get().author == "ann"
    [listed] = operator.get(f"{V1}commands?target=default").json()["commands"]
    assert listed == answer.json()


def test_a_form_is_as_good_as_json(operator: Client) -> None:
    shop.web()
    assert operator.post(f"{V1}commands", {"kind": "pause", "target": "default"}).status_code == 202


def test_a_session_s_orders_need_the_token_against_forged_requests() -> None:
    shop.web()
    client = signed_in(person("ann", superuser=True), enforce_csrf_checks=True)
    answer = ordered(client, kind="pause", target="default")
    assert (answer.status_code, "CSRF" in answer.json()["error"]) == (403, True)
    client.cookies[django_settings.CSRF_COOKIE_NAME] = "t" * 32
    headers = {"X-CSRFToken": "t" * 32}
    order = json.dumps({"kind": "pause", "target": "default"})
    assert client.post(f"{V1}commands", order, content_type="application/json", headers=headers).status_code == 202
    assert Command.objects.count() == 1


@pytest.mark.parametrize(
    ("order", "permissions", "needed"),
    [
        ({"kind": "pause"}, ("end_sessions",), "change_poolprofile"),
        ({"kind": "kill"}, ("change_poolprofile",), "cut_off_clients"),
        ({"kind": "end"}, ("change_poolprofile", "cut_off_clients"), "end_sessions"),
    ],
)
def test_each_order_asks_for_its_permission(order: dict[str, str], permissions: tuple[str, ...], needed: str) -> None:
    shop.web()
    client = signed_in(person("someone", "view_poolprofile", *permissions))
    answer = ordered(client, target="default", **order)
    assert (answer.status_code, answer.json()["permission"]) == (403, f"poolmgr.{needed}")
    assert needed in answer.json()["error"]
    assert not Command.objects.exists()


@pytest.mark.parametrize(
    ("order", "status", "reason"),
    [
        ({"kind": "explode"}, 400, "“kind” is “explode”, but must be one of recycle, pause, resume, kill,"),
        ({"kind": "pause", "target": "nowhere"}, 400, "There is no target “nowhere”."),
        ({"kind": "pause", "process": "gone"}, 400, "That process is gone"),
        ({"kind": "kill"}, 400, "A target of kind PostgreSQL knows no kill; it knows recycle, pause, resume."),
        ({"kind": "pause", "checkout": "1.2"}, 400, "“checkout” is “1.2”, but must be left out"),
        ({"kind": "pause", "proces": "x"}, 400, "There is no key “proces”; there are: kind, target,"),
        ({"kind": "pause", "target": 3}, 400, "“target” is “3”, but must be a text"),
        ({"kind": "end"}, 400, "“process” is “”, but must be what “holders” has"),
        ({"kind": "end", "process": "gone", "checkout": "1.2"}, 404, "Its process is gone"),
    ],
)
def test_orders_that_make_no_sense_are_refused_with_the_reason(
    operator: Client, order: dict[str, Any], status: int, reason: str
) -> None:
    shop.web()
    answer = ordered(operator, **{"target": "default", **order})
    assert answer.status_code == status
    assert reason in answer.json()["error"]
    assert not Command.objects.exists()


@pytest.mark.long
def test_what_is_over_is_told_and_nobody_else_is_touched(operator: Client, answering: None) -> None:
    shop.web()
    answer = ordered(operator, kind="cancel", target="default", process=shop.WEB, checkout="9.9")
    assert (answer.status_code, "It is over" in answer.json()["error"]) == (409, True)
    assert not Event.objects.exists()


@pytest.mark.long
def test_whoever_asks_for_a_checkout_whose_process_does_not_answer_comes_again(operator: Client) -> None:
    beat(calm(), uid="mute-1", pid=4242)
    place = {"process": "mute-1", "target": "default", "checkout": "1.2"}
    for answer in (operator.get(f"{V1}holders/mute-1/default/1.2"), ordered(operator, kind="end", **place)):
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        assert "Its process has not answered in time" in answer.json()["error"]


@pytest.mark.parametrize("body", ["{", "[]", "\ufffe"])
def test_a_body_that_is_no_object_is_refused(operator: Client, body: str) -> None:
    answer = operator.post(f"{V1}commands", body.encode(), content_type="application/json")
    assert (answer.status_code, "body" in answer.json()["error"]) == (400, True)


# -- what is asked wrongly ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "status", "reason"),
    [
        ("targets/nowhere", 404, "There is no target 'nowhere'; there are default."),
        ("why/nowhere", 404, "There is no target 'nowhere'"),
        ("holders?target=nowhere", 404, "There is no target 'nowhere'"),
        ("processes/gone", 404, "No live process is called 'gone'."),
        (f"holders/{shop.WEB}/default/nonsense", 404, "There is no such address"),
        ("holders/gone/default/1.2", 404, "Its process is gone"),
        ("nonsense", 404, "There is no such address; /pools/api/v1/ lists those that there are."),
        ("processes?role=chef", 400, "“role” is “chef”, but must be one of web, worker, command."),
        ("events?page=201", 400, "“page” is “201”, but must be a whole number from 1 to 200."),
        ("processes?limit=0", 400, "“limit” is “0”, but must be a whole number from 1 to 1000."),
        ("holders?limit=many", 400, "“limit” is “many”, but must be a whole number from 1 to 1000."),
        ("holders?after=WyJ3ZWIiXQ", 400, "“after” is “WyJ3ZWIiXQ”, but must be what another answer of this address"),
        ("processes?after=%C3%A9", 400, "“after” is “é”, but must be"),
        ("status?target=default", 400, "There is no parameter “target” here; there are: none."),
        ("history/nowhere", 404, "There is no target 'nowhere'"),
        ("history/default?range=2h", 400, "“range” is “2h”, but must be one of 15m, 1h,"),
        ("events?kind=party", 400, "“kind” is “party”, but must be one of episode, profile, command, health, process."),
        ("events?state=fine", 400, "“state” is “fine”, but must be one of open, warning, critical, unknown."),
        ("events?page=0", 400, "“page” is “0”, but must be a whole number from 1 to 200."),
        ("events?from=yesterday", 400, "“from” is “yesterday”, but must be a time such as 2026-03-29T14:30"),
        ("events?from=2026-03-29&to=2026-03-28", 400, "“to” is “2026-03-28”, but must be no earlier than “from”."),
        ("events?q=%00", 400, "“q” is"),
        ("episodes?author=ann", 400, "There is no parameter “author” here"),
        ("events?to=99999999999999", 400, "“to” is"),
        ("events?to=0001-01-01", 400, "“to” is"),
    ],
)
def test_a_request_that_makes_no_sense_is_told_why(operator: Client, address: str, status: int, reason: str) -> None:
    answer = operator.get(V1 + address)
    assert answer.status_code == status
    assert reason in answer.json()["error"]


@pytest.mark.parametrize("address", ["", "status", "events", "commands", "nonsense"])
def test_other_methods_are_refused_and_nothing_is_cached(operator: Client, address: str) -> None:
    answer = operator.delete(V1 + address)
    assert answer.status_code == 405
    assert answer["Allow"] == ("GET, HEAD, POST" if address == "commands" else "GET, HEAD")
    for each in (answer, operator.get(V1 + address), Client().get(V1 + address)):
        assert "no-store" in each["Cache-Control"]
    assert operator.head(V1 + address).content == b""


@pytest.mark.long
def test_a_site_that_has_everybody_log_in_lets_the_token_in(settings: Any) -> None:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
    assert Client(headers=bearer()).get(f"{V1}status").status_code == 200
    assert Client().get(f"{V1}status").status_code == 401


@pytest.mark.long
def test_settings_of_a_terminal_s_edit_are_told(operator: Client) -> None:
    shop.web()
    told = json.loads(poolctl("set", "default", "max_size=7", "--author", "ann", "--json"))
    assert (told["saved"], told["revision"], told["profile"]) == (True, 1, PoolProfile.objects.get().pk)
    assert told["changes"]["max_size"] == {"from": None, "to": 7}


def test_names_lead_to_the_addresses() -> None:
    assert reverse("poolmgr:api:status") == f"{V1}status"
    assert reverse("poolmgr:api:target", kwargs={"target": "cache:default"}) == f"{V1}targets/cache:default"
