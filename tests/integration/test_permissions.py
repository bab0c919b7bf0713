"""Every address of the console, and everybody who may come by: strangers, people of the site, staff, viewers, operators."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from poolmgr.control.reporting import looks as looking
from poolmgr.models import Command, Event

from . import shop
from .console import own_fleet, person, signed_in

pytestmark = pytest.mark.django_db(transaction=True)

ALL = (
    "view_poolprofile", "add_poolprofile", "change_poolprofile", "view_event", "view_command", "read_statements", "end_sessions",
    "cut_off_clients",
)  # fmt: skip
PEOPLE = ("stranger", "customer", "clerk", "viewer", "operator")
#: What an address is called with; a pattern with other names needs one here.
NAMES = {
    "target": "default", "uid": shop.WEB, "checkout": shop.CHECKOUT, "order": "cancel", "code": "exhausted", "rest": "nonsense",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Asked:
    """How an address is asked, and what a viewer and an operator get."""

    viewer: int = 200
    operator: int = 200
    post: Any = None
    query: str = ""


#: Those that ask for more than to view, or answer with something else than a page.
ODD = {
    "confirm": Asked(viewer=403, query="?kind=pause&target=default"),
    "command": Asked(viewer=403, operator=302, post={"kind": "pause", "target": "default"}),
    "holder_order": Asked(viewer=403),
    "settings_foresee": Asked(viewer=403, post={}),
    "events": Asked(viewer=403),
    "api:events": Asked(viewer=403),
    "api:episodes": Asked(viewer=403),
    "api:commands": Asked(viewer=403),
    "api:commands by POST": Asked(viewer=403, operator=202, post={"kind": "pause", "target": "default"}),
    "api:nothing": Asked(viewer=404, operator=404),
}


def names(patterns: Any, prefix: str = "") -> Iterator[tuple[str, tuple[str, ...]]]:
    """The name of each address, with those of its parameters."""
    for each in patterns:
        if isinstance(each, URLResolver):
            yield from names(each.url_patterns, f"{prefix}{each.namespace}:" if each.namespace else prefix)
        elif isinstance(each, URLPattern) and each.name:
            yield f"{prefix}{each.name}", tuple(each.pattern.converters)


def addresses() -> dict[str, tuple[str, ...]]:
    found = dict(names(get_resolver("poolmgr.dashboard.urls").url_patterns))
    return found | {"api:commands by POST": ()}


@pytest.fixture(autouse=True)
def _fleet(settings: Any, redis_server: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    own_fleet(settings, redis_server)
    monkeypatch.setattr(looking.looks, "_seen", {})
    shop.open_shop()
    with shop.answering():
        yield


def who(name: str) -> Client:
    if name == "stranger":
        return Client()
    permissions = {"clerk": (), "viewer": ("view_poolprofile",)}.get(name, ALL)
    return signed_in(person(name, *permissions, staff=name != "customer"))


def ask(client: Client, name: str, parameters: tuple[str, ...], asked: Asked) -> Any:
    address = reverse(f"poolmgr:{name.removesuffix(' by POST')}", kwargs={each: NAMES[each] for each in parameters})
    if asked.post is None:
        return client.get(address + asked.query)
    if name.startswith("api:"):
        return client.post(address, json.dumps(asked.post), content_type="application/json")
    return client.post(address, asked.post)


@pytest.mark.parametrize("name", sorted(addresses()))
def test_each_address_lets_in_whom_it_should_and_tells_the_others_why(name: str) -> None:
    parameters, asked, in_json = addresses()[name], ODD.get(name, Asked()), name.startswith("api:")
    expected = {
        "stranger": 401 if in_json else 302, "customer": 403, "clerk": 403, "viewer": asked.viewer, "operator": asked.operator,
    }  # fmt: skip
    ordered = (Command.objects.count(), Event.objects.count())
    for person_ in PEOPLE:
        answer = ask(who(person_), name, parameters, asked)
        assert answer.status_code == expected[person_], person_
        if in_json:
            assert answer["Content-Type"] == "application/json"
            assert answer.status_code in (200, 202) or answer.json()["error"]
        if answer.status_code == 302 and person_ == "stranger":
            assert answer["Location"].startswith("/admin/login/?next=/pools/")
        if answer.status_code == 403 and person_ in ("clerk", "viewer"):
            assert "poolmgr." in answer.content.decode(), person_
        assert "no-store" in answer["Cache-Control"], person_
        if person_ != "operator":
            assert (Command.objects.count(), Event.objects.count()) == ordered, person_
