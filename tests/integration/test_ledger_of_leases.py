"""The ledger of leases on real rows: what it notices, and what it gives nobody then."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from poolmgr.control.access import control_database, control_transaction
from poolmgr.control.sharing.ledger import RowLedger, open_ledger
from poolmgr.control.sharing.line import PLACES, LineFull
from poolmgr.control.sharing.share import Claim
from poolmgr.models import Lease, Ledger, PoolProfile
from poolmgr.pools.sql.pinning import TRACES, reasons
from tests.waiting import until

TTL = 20.0


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(db: None, clock: Clock) -> Iterator[RowLedger]:
    Lease.objects.all().delete()
    Ledger.objects.all().delete()
    open_ledger()
    yield RowLedger(timedelta(seconds=TTL), clock)
    Lease.objects.all().delete()
    Ledger.objects.all().delete()


def ask(ledger: RowLedger, uid: str, want: int, held: int = 0, serial: int = 0, budget: int = 8, **more: Any) -> int:
    """The limit that a claim for one target brings."""
    return ledger.claim(uid, serial, {"work": Claim(held, held, want, want, budget)}, **more).limits["work"]


def test_first_claims_of_a_new_site_wait_for_nothing(ledger: RowLedger) -> None:  # P6
    assert ask(ledger, "a", 5) == 5
    assert ask(ledger, "b", 5) == 3


def test_lease_that_is_not_renewed_is_room_when_it_is_over(ledger: RowLedger, clock: Clock) -> None:  # P6
    ask(ledger, "dead", 8)
    clock.advance(TTL - 0.1)
    assert ask(ledger, "b", 5) == 0
    clock.advance(0.2)
    assert ask(ledger, "b", 5) == 5
    assert not Lease.objects.filter(uid="dead").exists()


def test_renewal_lets_a_lease_last_and_knows_what_it_renews(ledger: RowLedger, clock: Clock) -> None:  # P6
    answer = ledger.claim("a", 0, {"work": Claim(0, 0, 8, 8, 8)})
    clock.advance(TTL - 1)
    assert ledger.renew("a", answer.serial)
    assert not ledger.renew("a", answer.serial - 1)
    clock.advance(TTL - 1)
    assert ask(ledger, "b", 5) == 0
    clock.advance(2)
    assert not ledger.renew("a", answer.serial)


@pytest.mark.parametrize("length", [timedelta(seconds=TTL), timedelta(days=7000), timedelta(days=-7000)])
def test_forged_lease_starves_nobody_for_longer_than_a_lease_lasts(  # P6
    ledger: RowLedger, clock: Clock, length: timedelta
) -> None:
    forged = {"serial": 1, "until": datetime(9999, 1, 1, tzinfo=UTC), "leases": '{"work": [8, 8, 8, 8, 8]}'}
    Lease.objects.create(uid="forged", length=length, **forged)
    assert ask(ledger, "a", 5) == 0
    clock.advance(TTL + 0.1)
    assert ask(ledger, "a", 5) == 5


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"work": 1}', '{"work": [1, 2]}', '{"work": [true, 0, 0, 0, 0]}', "1, 2"]
)
def test_lease_that_cannot_be_read_costs_itself_and_freezes_the_rest(  # P6
    ledger: RowLedger, clock: Clock, text: str
) -> None:
    assert ask(ledger, "a", 2) == 2
    until = clock.now + timedelta(seconds=5)
    Lease.objects.create(uid="odd", serial=1, until=until, length=timedelta(seconds=TTL), leases=text)
    assert ask(ledger, "a", 5, held=2) == 2
    assert not Lease.objects.filter(uid="odd").exists()
    clock.advance(TTL + 0.1)
    assert ask(ledger, "a", 5, held=2) == 5


@pytest.mark.parametrize("field", ["frozen_until", "adopting"])
def test_clock_that_is_set_back_lets_nobody_wait_for_longer_than_a_lease_lasts(  # P6
    ledger: RowLedger, clock: Clock, field: str
) -> None:
    ahead = datetime(2027, 1, 1, tzinfo=UTC)
    Ledger.objects.update(**{field: ahead if field == "frozen_until" else {"work": ahead.isoformat()}})
    assert ask(ledger, "a", 5) == 0
    clock.advance(TTL + 0.1)
    assert ask(ledger, "a", 5) == 5


@pytest.mark.parametrize(
    "forged", ["[]", '"work"', "null", '{"work": 5}', '{"work": "soon"}', '{"work": "2026-01-01"}']
)
@pytest.mark.parametrize("field", ["adopting", "lacking"])
def test_what_a_ledger_says_that_cannot_be_read_keeps_nobody_from_claiming(  # P6
    ledger: RowLedger, clock: Clock, field: str, forged: str
) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE poolmgr_ledger SET {field} = %s", [forged])
    assert ledger.lacking().keys() <= {"work"}
    assert ask(ledger, "a", 2) in (0, 2)
    clock.advance(TTL + 0.1)
    assert ask(ledger, "a", 5) == 5


def test_processes_that_hold_their_leases_for_longer_are_believed(ledger: RowLedger, clock: Clock) -> None:  # P6
    """While a deploy changes PROCESS_TTL, some have the old one."""
    longer = RowLedger(timedelta(seconds=5 * TTL), clock)
    serial = longer.claim("old", 0, {"work": Claim(0, 0, 8, 8, 8)}).serial
    for _ in range(3):
        assert ask(ledger, "new", 5) == 0
        clock.advance(TTL + 0.1)
    assert ask(ledger, "newer", 5) == 0
    assert longer.renew("old", serial)
    clock.advance(4 * TTL)
    assert ask(ledger, "new", 5) == 0
    clock.advance(TTL + 0.1)
    assert ask(ledger, "new", 5) == 5


@pytest.mark.parametrize("lost", [(Lease,), (Ledger,), (Lease, Ledger)])
def test_ledger_that_lost_its_memory_gives_nobody_more_for_as_long_as_a_lease_lasts(  # P6
    ledger: RowLedger, clock: Clock, lost: tuple[Any, ...]
) -> None:
    serial = ledger.claim("a", 0, {"work": Claim(0, 0, 6, 6, 8)}).serial
    for model in lost:
        model.objects.all().delete()
    # Who can't know that anything was lost comes first.
    assert ask(ledger, "b", 8) == 0
    assert ask(ledger, "a", 6, held=6, serial=serial) == 6
    clock.advance(TTL + 0.1)
    assert ask(ledger, "a", 6, held=6) == 6
    assert ask(ledger, "b", 8) == 2


def test_process_knows_of_a_claim_that_the_ledger_does_not(ledger: RowLedger) -> None:  # P6
    serial = ledger.claim("a", 0, {"work": Claim(0, 0, 2, 2, 8)}).serial
    assert ask(ledger, "a", 5, held=2, serial=serial + 1) == 2
    assert ask(ledger, "b", 5) == 0


def test_standby_that_was_promoted_may_not_know_the_last_claims(  # P6
    ledger: RowLedger, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(ledger, "a", 2)
    Ledger.objects.update(timeline="0000FFFF")
    assert ask(ledger, "b", 5) == 0
    clock.advance(TTL + 0.1)
    assert ask(ledger, "b", 5) == 5


def test_pools_that_ran_without_a_limit_may_do_so_still_elsewhere(ledger: RowLedger, clock: Clock) -> None:  # P6
    assert ask(ledger, "a", 5, held=3, adopting=frozenset({"work"})) == 3
    assert ask(ledger, "b", 5) == 0
    clock.advance(TTL + 0.1)
    assert ask(ledger, "b", 5) == 5


def test_process_that_ends_leaves_its_room(ledger: RowLedger) -> None:  # P6
    ask(ledger, "a", 8)
    answer = ledger.claim("a", 0, {})
    assert answer.limits == {}
    assert ask(ledger, "b", 8) == 8


def test_who_should_make_room_is_called_and_so_is_who_should_take_it(ledger: RowLedger) -> None:  # P6
    serial = ledger.claim("a", 0, {"work": Claim(0, 0, 8, 8, 8)}).serial
    assert ledger.claim("b", 0, {"work": Claim(0, 0, 8, 8, 8)}).called == {"a"}
    assert ledger.lacking() == {"work": 4}
    told = ledger.claim("a", serial, {"work": Claim(8, 8, 8, 8, 8)})
    assert told.limits == {"work": 4}
    assert ledger.lacking() == {}
    assert ledger.claim("a", told.serial, {"work": Claim(4, 4, 8, 8, 8)}).called == {"b"}


def test_who_has_nothing_new_to_say_and_lacks_nothing_calls_nobody(ledger: RowLedger) -> None:  # P6
    """Those who should come were called by whoever made it so: else those who are called would call each other."""
    first = ledger.claim("a", 0, {"work": Claim(1, 1, 1, 1, 8)})
    ledger.claim("holder", 0, {"work": Claim(7, 7, 7, 7, 8)})
    assert ledger.claim("b", 0, {"work": Claim(0, 0, 4, 4, 8)}).called == {"holder"}
    again = ledger.claim("a", first.serial, {"work": Claim(1, 1, 1, 1, 8)})
    assert (again.limits, again.called) == ({"work": 1}, set())
    # Whom a call may not have reached calls again.
    assert ledger.claim("b", 1, {"work": Claim(0, 0, 4, 4, 8)}).called == {"holder"}


@contextmanager
def as_a_process_of_its_own() -> Iterator[None]:
    try:
        yield
    finally:
        connection.close()


def an_edit() -> Iterator[None]:
    with control_transaction():
        PoolProfile.objects.select_for_update().get(target="work")
        yield


def a_claim() -> Iterator[None]:
    with RowLedger(timedelta(seconds=TTL))._locked():
        yield


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("begun", [a_claim, an_edit])
def test_a_process_that_stops_in_the_middle_of_its_work_keeps_its_lock_for_a_second(  # P6 P8
    begun: Callable[[], Iterator[None]],
) -> None:
    open_ledger()
    PoolProfile.objects.create(target="work")
    stopped, on = threading.Event(), threading.Event()
    work: Callable[[], AbstractContextManager[None]] = contextmanager(begun)

    def stop_half_way() -> None:
        with as_a_process_of_its_own(), work():
            stopped.set()
            assert on.wait(30)

    def go_on() -> None:
        with as_a_process_of_its_own(), connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = 10000")
            with work():
                pass

    with ThreadPoolExecutor(2) as threads:
        frozen = threads.submit(stop_half_way)
        assert stopped.wait(10)
        try:
            threads.submit(go_on).result(20)
        finally:
            on.set()
        with pytest.raises(DatabaseError, match="idle-in-transaction"):
            frozen.result(10)


def sessions() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " AND backend_type = 'client backend'"
        )
        return int(cursor.fetchone()[0])


@pytest.mark.django_db(transaction=True)
def test_claims_and_renewals_that_wait_for_their_turn_hold_no_connections(db: None) -> None:  # P6 P8
    """But for the few who stand in the line: who is at the ledger may be slow, as on a machine that is short of CPU."""
    open_ledger()
    ledger = RowLedger(timedelta(seconds=TTL))
    found: list[str] = []
    others = sessions()

    def come(number: int) -> None:
        with control_database():
            try:
                if number % 2:
                    ask(ledger, f"m{number}", 1)
                else:
                    ledger.renew(f"m{number}", 1)
                found.append("served")
            except LineFull:
                found.append("sent away")

    with ThreadPoolExecutor(12) as threads, transaction.atomic():
        Ledger.objects.update(turn=F("turn") + 1)
        came = [threads.submit(come, number) for number in range(12)]
        until(lambda: sum(each.done() for each in came) == 12 - PLACES, "all but a few to be sent away", 20)
        until(lambda: sessions() <= others + PLACES, "who was sent away to have gone", 10)
    assert (found.count("served"), found.count("sent away")) == (PLACES, 12 - PLACES)
    assert ask(ledger, "m13", 1) == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_claims_where_the_server_s_transactions_are_stricter_than_usual(level: str) -> None:  # P6 P8
    """There a statement that has waited for a row that somebody else has changed is refused."""
    open_ledger()
    ledger = RowLedger(timedelta(seconds=TTL))
    at_lock = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"

    def come(number: int) -> int:
        with as_a_process_of_its_own():
            with connection.cursor() as cursor:
                cursor.execute(f"SET default_transaction_isolation = '{level}'")
            serial = ledger.claim(f"m{number}", 0, {"work": Claim(0, 0, 1, 1, 8)}).serial
            assert ledger.renew(f"m{number}", serial)
            return serial

    with ThreadPoolExecutor(4) as threads:
        with transaction.atomic(), connection.cursor() as cursor:
            Ledger.objects.update(turn=F("turn") + 1)
            came = [threads.submit(come, number) for number in range(4)]
            until(lambda: cursor.execute(at_lock) or cursor.fetchone() == (4,), "all to stand at the lock", 10)
        assert [each.result(20) for each in came] == [1] * 4
    with as_a_process_of_its_own(), connection.cursor() as cursor:
        cursor.execute("RESET default_transaction_isolation")


@pytest.mark.django_db(transaction=True)
def test_going_to_the_ledger_leaves_nothing_that_a_return_would_have_to_clean() -> None:  # P2 P12
    open_ledger()
    ledger = RowLedger(timedelta(seconds=TTL))
    with CaptureQueriesContext(connection) as asked:
        assert ledger.renew("a", ledger.claim("a", 0, {"work": Claim(0, 0, 5, 5, 8)}).serial)
    assert [query["sql"] for query in asked if "set_config" in query["sql"]]
    assert {reason for query in asked for reason in reasons(query["sql"])} & TRACES == set()
