"""What connections were used for, counted by label: bounded, exact in sum, and small in a heartbeat."""

from __future__ import annotations

from time import monotonic

import pytest

from poolmgr.metrics.details import joined, split
from poolmgr.metrics.snapshot import PoolSnapshot, ProcessBeat
from poolmgr.metrics.uses import LONGEST, NOBODY, OTHERS, TOLD, Spent, Use, flat, summed
from poolmgr.pools.entry import Entry
from poolmgr.pools.labels import Label
from poolmgr.pools.uses import MOST, Uses
from poolmgr.targets.postgresql.session import ASKING, ELSEWHERE, KEPT, SessionEntry


def note(uses: Uses, name: str, held: float, sql: float = 0.0, kept: float = 0.0) -> None:
    uses.add((Label("view", name), held, sql, kept, None, True))


def test_two_hundred_routes_are_told_as_the_first_few_and_all_others_and_the_sum_is_that_of_all() -> None:  # P12
    uses = Uses(splits=True)
    for number in range(200):
        note(uses, f"GET /{number}/", 0.5 if number == 7 else 0.1, sql=0.05)
    told = uses.told(now := monotonic())
    assert len(told) == TOLD + 1
    assert (told[0].name, told[-1].kind) == ("GET /7/", OTHERS)
    assert (sum(use.recent.count for use in told), sum(sum(use.times.counts) for use in told)) == (200, 200)
    assert sum(use.recent.held for use in told) == pytest.approx(0.5 + 199 * 0.1)
    assert all(len(stretch) <= MOST for stretch in (*uses._stretches, uses._before))
    # So many again and again, over the stretches of an hour.
    for minute in range(0, 60, 2):
        for number in range(200):
            note(uses, f"GET /{minute}/{number}/", 0.1)
        uses.count(now + 60 * minute)
    assert all(len(stretch) <= MOST for stretch in (*uses._stretches, uses._before))
    told = uses.told(now + 3600)
    assert sum(use.all.count for use in told) == 31 * 200
    assert sum(use.recent.count for use in told) == 5 * 200


def test_what_is_recent_ends_after_some_minutes_and_what_was_since_the_start_stays() -> None:
    uses = Uses()
    note(uses, "GET /a/", 2.0)
    uses.add((None, 1.0, 0.0, 0.0, None, True))
    start = monotonic()
    uses.count(start)
    assert [(use.name, use.recent.held) for use in uses.told(start + 500)] == [("GET /a/", 2.0), ("", 1.0)]
    [first, second] = uses.told(start + 900)
    assert (first.recent, first.all, first.lengths) == (Spent(), Spent(1, 2.0), ())
    assert (second.kind, second.all.count) == (NOBODY, 1)
    note(uses, "GET /a/", 3.0)
    [first, _] = uses.told(start + 901)
    assert (first.recent.held, first.all.held, first.all.count) == (3.0, 5.0, 2)
    assert 2.0 <= (first.times.quantile(0.95) or 0) <= 5.0


def test_a_checkout_under_way_is_counted_so_far_and_at_its_end_once() -> None:
    uses, entry = Uses(), Entry(0, 0, 1, 0.0)
    entry.owner, entry.since, entry.label = object(), 100.0, Label("task", "reports.build")
    uses.part(entry, 104.0)
    [use] = uses.told(monotonic())
    assert (use.recent, use.lengths) == (Spent(0, 4.0), ())
    uses.part(entry, 105.0)
    uses.end(entry, 106.5)
    [use] = uses.told(monotonic())
    assert use.recent == Spent(1, 6.5)
    assert 5.0 <= (use.times.quantile(0.5) or 0) <= 10.0  # at its full length


def test_marks_part_what_is_held_without_a_gap() -> None:
    entry = SessionEntry(0, 0, 1, 0.0)
    entry.since = began = monotonic()
    for doing in (KEPT, ASKING, KEPT, ASKING, ELSEWHERE, ASKING):
        entry.mark(doing)
    held, sql, kept = entry.spent(monotonic())
    assert min(sql, kept) > 0
    assert sql + kept <= held <= monotonic() - began
    entry.mark_answered(True)
    assert entry.doing == ELSEWHERE
    entry.pins.add("SET")
    entry.mark_answered(True)
    assert entry.doing == KEPT  # as transaction mode would


def test_processes_are_summed_by_label_and_long_names_are_cut() -> None:
    uses = Uses()
    note(uses, "GET /" + "x" * 300, 1.0)
    [cut] = uses.told(monotonic())
    assert len(cut.name) == LONGEST
    other = Use("view", cut.name, False, Spent(2, 3.0), Spent(2, 3.0), flat([(14, 2)]))
    [both] = summed([cut, other], TOLD)
    assert (both.recent, sum(both.times.counts)) == (Spent(3, 4.0), 3)


def test_what_a_pool_that_is_gone_has_counted_is_not_lost() -> None:
    gone, kept = Uses(splits=True), Uses(splits=True)
    note(gone, "GET /a/", 2.0, sql=1.5, kept=0.25)
    kept.absorb(gone.told(monotonic()))
    note(kept, "GET /a/", 1.0)
    [use] = kept.told(monotonic())
    assert (use.recent, use.all) == (Spent(2, 3.0, 1.5, 0.25), Spent(2, 3.0, 1.5, 0.25))
    assert sum(use.times.counts) == 2


def test_in_a_heartbeat_it_is_a_detail_and_takes_about_a_kilobyte() -> None:  # P12
    uses = Uses(splits=True)
    for number in range(20):
        for length in (0.004, 0.011, 0.03):
            note(uses, f"GET /shop/<slug:name>/{number}/", length + number / 1000, sql=length / 3, kept=length / 7)
    pool = PoolSnapshot("default", uses=uses.told(monotonic()))
    beat = ProcessBeat("host-1-a", "host", 1, "web", 1.0, 2.0, pools=(pool,))
    often, details = split(beat)
    bare = split(ProcessBeat("host-1-a", "host", 1, "web", 1.0, 2.0, pools=(PoolSnapshot("default"),)))[1]
    assert often.pools[0].uses == ()
    assert len(details.to_json()) - len(bare.to_json()) <= 1400
    assert ProcessBeat.from_json(details.to_json()).pools[0].uses == pool.uses
    assert joined(often, details).pools[0].uses == pool.uses
