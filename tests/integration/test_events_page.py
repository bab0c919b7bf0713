"""The page of what happened: one list, found by its query, as a page, CSV and JSON."""

from __future__ import annotations

import csv
import io
import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from poolmgr.control.watching import log
from poolmgr.models import Episode, Event

from .console import own_fleet, person, signed_in

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.long]

PAGE = "/pools/events/"


@pytest.fixture(autouse=True)
def _fleet(settings: Any, redis_server: Any) -> None:
    own_fleet(settings, redis_server)


@pytest.fixture
def operator() -> Client:
    return signed_in(person("ann", superuser=True))


def an_event(message: str, minutes: float = 0.0, **values: Any) -> Event:
    """That happened so long ago."""
    made = Event.objects.create(**{"kind": "profile", "target": "default", "author": "ann", **values}, message=message)
    Event.objects.filter(pk=made.pk).update(at=timezone.now() - timedelta(minutes=minutes))
    return made


def an_episode(minutes: float, lasted: float | None = None, **values: Any) -> Episode:
    """That began so long ago, and went on for so many seconds, or goes on."""
    began = timezone.now() - timedelta(minutes=minutes)
    given: dict[str, Any] = {
        "target": "default", "family": "exhausted", "code": "exhausted", "state": "critical", "place": "both web processes",
        "sentence": "Requests get no connection.", "figures": {"full": 2, "failed": 12, "waiting": 9, "longest_wait": 30},
    }  # fmt: skip
    ended = None if lasted is None else began + timedelta(seconds=lasted)
    return Episode.objects.create(began_at=began, seen_at=began, ended_at=ended, **{**given, **values})


def said(client: Client, **query: Any) -> list[str]:
    """What the lines say, from the top."""
    answer = client.get(PAGE, query)
    assert answer.status_code == 200
    return re.findall(r'class="pm-log-said"><span[^>]*>([^<]*)<', answer.content.decode())


def test_what_goes_on_comes_first_and_then_the_newest_of_both(operator: Client) -> None:
    an_event("the newest edit")
    an_episode(50, 41, why="ann did it, 12 s before")
    an_event("an edit in between", 55)
    an_episode(90, target="other", sentence="Paused by bob.", family="paused", state="warning", figures={})
    assert said(operator) == ["Was paused", "the newest edit", "Both web processes were full", "an edit in between"]
    page = operator.get(PAGE).content.decode()
    for told in (
        "12 requests failed, up to 9 waited at once, the longest for 30 s", "for 41 s", "goes on",
        "Just before: ann did it, 12 s before", "pm-critical", '<a href="/pools/targets/other/"><b>other</b></a>',
    ):  # fmt: skip
        assert told in page, told


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, {"edit", "order", "full", "lost"}),
        ({"target": "other"}, {"order"}),
        ({"kind": "episode"}, {"full", "lost"}),
        ({"kind": "command"}, {"order"}),
        ({"state": "open"}, {"lost"}),
        ({"state": "critical"}, {"full"}),
        ({"state": "critical", "kind": "command"}, set()),
        ({"author": "bob"}, {"order"}),
        ({"author": "bo"}, set()),
        ({"q": "EDIT"}, {"edit"}),
        ({"q": "web"}, {"full"}),
        ({"q": "%"}, set()),
    ],
)
def test_each_filter_finds_what_it_says(operator: Client, query: dict[str, str], found: set[str]) -> None:
    an_event("edit of ann", 1)
    an_event("order of bob", 2, kind="command", target="other", author="bob")
    an_episode(3, 5)
    an_episode(4, target="", family="store_lost", state="warning", place="", sentence="Redis is lost.", figures={})
    words = {
        "edit": "edit of ann",
        "order": "order of bob",
        "full": "Both web processes were full",
        "lost": "Redis was away",
    }
    assert set(said(operator, **query)) == {words[each] for each in found}


def test_times_are_the_site_s_and_an_episode_counts_as_long_as_it_lasts(operator: Client) -> None:
    an_event("old", 600)
    an_event("young", 10)
    an_episode(300, 3600)

    def at(minutes: float) -> str:
        return f"{timezone.localtime() - timedelta(minutes=minutes):%Y-%m-%dT%H:%M}"

    full = "Both web processes were full"
    assert said(operator, **{"from": at(20)}) == ["young"]
    assert said(operator, **{"from": at(270)}) == ["young", full]
    assert said(operator, to=at(290)) == [full, "old"]
    assert said(operator, to=at(310)) == ["old"]
    assert said(operator, **{"from": at(20) + ":00" + f"{timezone.localtime():%z}"}) == ["young"]
    assert said(operator, **{"from": f"{timezone.now().timestamp() - 1200:.3f}"}) == ["young"]
    page = operator.get(PAGE, {"from": at(20)}).content.decode()
    assert f'name="from" type="datetime-local" value="{at(20)}"' in page


@pytest.mark.long
def test_a_day_is_all_of_it(operator: Client) -> None:
    an_event("today")
    day = f"{timezone.localtime():%Y-%m-%d}"
    assert said(operator, **{"from": day, "to": day}) == ["today"]
    assert said(operator, to=f"{timezone.localtime() - timedelta(days=1):%Y-%m-%d}") == []


def test_fifty_are_a_page_and_the_way_on_keeps_the_filter(operator: Client) -> None:
    for index in range(log.PAGE + 3):
        an_event(f"edit {index}", index)
    first = operator.get(PAGE, {"author": "ann"}).content.decode()
    assert said(operator, author="ann") == [f"edit {index}" for index in range(log.PAGE)]
    assert re.search(r'href="\?author=ann&amp;page=2" rel="next"', first)
    assert 'rel="prev"' not in first
    assert said(operator, author="ann", page=2) == ["edit 50", "edit 51", "edit 52"]
    second = operator.get(PAGE, {"author": "ann", "page": 2}).content.decode()
    assert re.search(r'href="\?author=ann&amp;page=1" rel="prev"', second)
    assert 'rel="next"' not in second
    assert "Nothing that happened fits" in operator.get(PAGE, {"page": 3}).content.decode()


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"kind": "party"}, "“kind” is “party”, but must be one of episode, profile, command, health, process."),
        ({"page": "x"}, "“page” is “x”, but must be a whole number from 1 to 200."),
        ({"from": "soon"}, "“from” is “soon”, but must be a time such as"),
        ({"tagret": "default"}, "There is no parameter “tagret” here; there are: target, kind,"),
        ({"format": "xls"}, "“format” is “xls”, but must be one of csv, json."),
        ({"q": "x" * 201}, "but must be a text of 200 printable characters at most"),
    ],
)
def test_a_filter_that_makes_no_sense_is_refused_with_a_sentence(
    operator: Client, query: dict[str, str], sentence: str
) -> None:
    answer = operator.get(PAGE, query)
    assert (answer.status_code, sentence in answer.content.decode()) == (400, True)
    assert "pm-log-said" not in answer.content.decode()


HOSTILE = '=HYPERLINK("http://x")'


def test_an_episode_leads_to_the_history_around_it(operator: Client) -> None:
    for lasted in (41, None, 50 * 86_400):
        Episode.objects.all().delete()
        an_episode(60 * 24 * 60, lasted)
        [address] = re.findall(r'href="(/pools/history/[^"]+)"', operator.get(PAGE).content.decode())
        assert operator.get(address.replace("&amp;", "&")).status_code == 200, lasted


def test_csv_has_every_line_and_begins_no_formula(operator: Client) -> None:
    for index in range(log.PAGE + 1):
        an_event(f"edit {index}", 10 + index)
    for index, text in enumerate((HOSTILE, "+1", "-1", "@x", "\tx", "\rx")):
        an_event(text, index, author=text, target=text)
    an_episode(400, 5)
    answer = operator.get(PAGE, {"format": "csv"})
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert 'filename="events.csv"' in answer["Content-Disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.content.decode(), newline="")))
    assert len(rows) == log.PAGE + 1 + 6 + 1
    assert [row["message"] for row in rows[:4]] == ["'" + HOSTILE, "'+1", "'-1", "'@x"]
    assert not [cell for row in rows for cell in row.values() if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    last = rows[-1]
    assert (last["kind"], last["state"], last["failed"], last["longest_wait"]) == ("episode", "critical", "12", "30")
    assert last["until"] > last["at"]
    assert (
        len(list(csv.DictReader(io.StringIO(operator.get(PAGE, {"format": "csv", "page": 2}).content.decode())))) == 8
    )


def test_json_is_the_api_s_document(operator: Client) -> None:
    an_event("edit")
    an_episode(5)
    told = operator.get(PAGE, {"format": "json", "kind": "episode"}).json()
    assert told == operator.get("/pools/api/v1/events", {"kind": "episode"}).json()
    assert [each["failed"] for each in told["events"]] == [12]


def test_hostile_texts_are_text(operator: Client) -> None:
    for text in ("\"><img src=x onerror=alert(1)>'<script>alert(2)</script>",):
        an_event(text, author=text, target=text)
        an_episode(5, target=text, sentence=text, why=text, place=text, family=text[:30], figures=[7])
        page = operator.get(PAGE, {"q": text}).content.decode()
        assert "<img" not in page
        assert "<script>alert" not in page


def test_whoever_may_not_see_events_sees_none() -> None:
    an_event("what ann did")
    client = signed_in(person("viewer", "view_poolprofile"))
    for form in ("", "csv", "json"):
        answer = client.get(PAGE, {"format": form})
        assert answer.status_code == 403
        assert "poolmgr.view_event" in answer.content.decode()
        assert "what ann did" not in answer.content.decode()


@pytest.mark.long
@pytest.mark.parametrize("moment", ["infinity", "-infinity", "9999-12-31", "0001-01-01"])
def test_a_time_that_python_has_no_value_for_spoils_nothing(operator: Client, moment: str) -> None:  # P10
    an_event("edit")
    an_episode(5)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE poolmgr_event SET at = %s", [moment])
        cursor.execute("UPDATE poolmgr_episode SET began_at = %s, ended_at = %s", [moment, moment])
    for form in ("", "csv", "json"):
        assert operator.get(PAGE, {"format": form}).status_code == 200


@pytest.mark.long
def test_a_page_costs_a_few_queries_however_long_the_log(
    operator: Client, django_assert_max_num_queries: Any
) -> None:  # P12
    Event.objects.bulk_create(Event(kind="profile", target="default", message="m") for _ in range(3000))
    with django_assert_max_num_queries(12):
        operator.get(PAGE, {"page": 40})
