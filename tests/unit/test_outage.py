"""How an outage is told of."""

from poolmgr.exceptions import AuthenticationFailed, ServerDown
from poolmgr.pools.diagnosis import Diagnosis
from poolmgr.pools.outage import Outage

LISTENS_NOT = Diagnosis(ServerDown, "nothing listens")
REFUSED = Diagnosis(AuthenticationFailed, "the server refuses the password")


def test_an_outage_is_told_when_it_begins_once_a_minute_and_when_it_is_over() -> None:
    outage = Outage("db:5432/site")
    lines = [outage.failed(LISTENS_NOT, now) for now in range(100, 230)]
    assert lines[0] == "no connection to db:5432/site: nothing listens; it is tried again as long as one is wanted"
    told = [line for line in lines[1:] if line]
    assert told == [
        "still no connection to db:5432/site after 60.0 s and 61 tries: nothing listens",
        "still no connection to db:5432/site after 120.0 s and 121 tries: nothing listens",
    ]
    assert outage.over(240) == ""
    outage.succeeded(245, 244)
    assert outage.over(246) == "connections to db:5432/site again, after 145.0 s and 130 failed tries"
    assert outage.over(247) == ""
    assert outage.failed(LISTENS_NOT, 300).startswith("no connection")


def test_a_connect_that_was_under_way_when_the_outage_began_does_not_end_it() -> None:
    outage = Outage("db")
    assert outage.failed(LISTENS_NOT, 10)
    outage.succeeded(11, began=9)
    assert outage.over(20) == ""
    assert outage.failed(LISTENS_NOT, 22) == ""
    outage.succeeded(24, began=23)
    assert outage.over(25) == "connections to db again, after 14.0 s and 2 failed tries"


def test_connects_that_work_now_and_then_are_no_end_of_it() -> None:
    outage = Outage("db")
    lines = []
    for now in range(10):
        lines.append(outage.failed(LISTENS_NOT, now))
        outage.succeeded(now + 0.5, now + 0.3)
        lines.append(outage.over(now + 0.9))
    assert len([line for line in lines if line]) == 1
    assert outage.over(12) == "connections to db again, after 9.5 s and 10 failed tries"


def test_a_restart_is_told_once_and_a_refusal_beside_it() -> None:
    outage = Outage("db")
    found = [
        LISTENS_NOT,
        Diagnosis(ServerDown, "the server is starting or stopping"),
        LISTENS_NOT,
        REFUSED,
        LISTENS_NOT,
    ]
    assert [bool(outage.failed(each, 1.0)) for each in found] == [True, False, False, True, False]
