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
    assert outage.succeeded(230, 229) == "connections to db:5432/site again, after 130.0 s and 130 failed tries"
    assert outage.succeeded(231, 230) == ""
    assert outage.failed(LISTENS_NOT, 300).startswith("no connection")


def test_a_connect_that_was_under_way_when_the_outage_began_does_not_end_it() -> None:
    outage = Outage("db")
    assert outage.failed(LISTENS_NOT, 10)
    assert outage.succeeded(11, began=9) == ""
    assert outage.failed(LISTENS_NOT, 12) == ""
    assert outage.succeeded(14, began=13) == "connections to db again, after 4.0 s and 2 failed tries"


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
