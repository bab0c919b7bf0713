"""What a process answers that is asked about a checkout, whoever asks and in whatever words."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.signing import Signer
from django.db import connection

from poolmgr.control.commanding.asking import ask
from poolmgr.control.inquiry import LONGEST_ANSWER, Answer, Inquiry, What, opened, read_answer
from poolmgr.control.reporting.fleet import read_fleet
from poolmgr.control.store import get_store
from poolmgr.identity import process_uid
from poolmgr.metrics.decoding import Unreadable
from poolmgr.metrics.snapshot import Holder
from tests.agents import without_agent
from tests.integration.holding import Holding, fleet_of_its_own, loiters
from tests.waiting import until

from .console import person, signed_in

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.long]


@pytest.fixture(params=["redis", "rows"])
def fleet(request: pytest.FixtureRequest, settings: Any, redis_server: Any) -> Iterator[str]:
    fleet_of_its_own(settings, redis_server, **({"REDIS_URL": None} if request.param == "rows" else {}))
    yield request.param
    without_agent()


@pytest.fixture
def loitering(fleet: str) -> Iterator[Holding]:
    over = threading.Event()
    holding = Holding(lambda: loiters(over))
    holding.is_at("in transaction")
    yield holding
    over.set()
    holding.end()


def put(text: str, name: str = "q") -> None:
    get_store().ask(process_uid(), name, text, 5)
    get_store().wake()


def asked(uid: str, checkout: str, what: str = "look", name: str = "q", target: str = "default") -> Inquiry:
    return Inquiry(uid, name, what, target, checkout)


def test_only_what_the_site_has_sealed_for_this_process_and_question_is_answered(loitering: Holding) -> None:
    checkout, uid = loitering.told.checkout, process_uid()
    whole = asked(uid, checkout, "end").sealed()
    forged = (
        "",
        "{}",
        whole[:-1] + ("a" if whole[-1] != "a" else "b"),
        Signer(salt="another").sign(whole.rpartition(":")[0]),
        asked("somebody-else", checkout, "end").sealed(),
        asked(uid, checkout, "end", name="another").sealed(),
        Signer(salt="poolmgr.inquiry").sign('{"uid": 5}'),
    )
    for text in forged:
        put(text)
    put(asked(uid, checkout, name="last").sealed(), "last")
    answer = read_answer(until(lambda: get_store().answer_to("last", LONGEST_ANSWER), "the answer"))
    assert answer.holder is not None
    assert answer.holder.state == "in transaction"
    assert get_store().answer_to("q", 100) == ""


def test_what_is_not_there_is_over(loitering: Holding) -> None:
    [beat] = [each for each in read_fleet().processes if each.uid == process_uid()]
    for target, checkout in (("no such target", loitering.told.checkout), ("default", "99999999.1"), ("default", "")):
        answer = ask(beat, What.LOOK, target, checkout)
        assert answer is not None
        assert (answer.done, answer.holder) == (False, None)


def test_where_each_request_is_a_transaction_the_question_is_heard(loitering: Holding) -> None:
    person("operator", superuser=True)
    connection.settings_dict["ATOMIC_REQUESTS"] = True
    try:
        client = signed_in(person("another", superuser=True))
        assert "Its stack now" in client.get(loitering.address).content.decode()
        assert "was ended" in client.post(loitering.address + "end/", follow=True).content.decode()
    finally:
        connection.settings_dict["ATOMIC_REQUESTS"] = False


def test_answer_is_bounded_and_read_with_care() -> None:
    long = Answer(1.0, True, "", (Holder("t", 1.0, 5),), ("\x00" * 30_000,))
    assert read_answer(long.to_json()).stack == ()
    for text in ("", "{", '{"at": -1, "done": true}', '{"at": 1, "done": true, "holders": [{"thread": 5}]}'):
        with pytest.raises(Unreadable):
            read_answer(text)
    with pytest.raises(Unreadable, match="not sealed"):
        opened("x" * 10_000)
