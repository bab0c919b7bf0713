"""A heartbeat in two parts is the same heartbeat, and says of itself whether the part that is seldom looked at has changed."""

from __future__ import annotations

from msgspec.structs import replace

from poolmgr.metrics.details import digest_of, is_news, joined, split
from poolmgr.metrics.histogram import BOUNDS, Distribution
from poolmgr.metrics.snapshot import Holder, PoolSnapshot, ProcessBeat
from poolmgr.pools.spec import PoolSpec

TIMES = Distribution((500,) * (len(BOUNDS) + 1), 7.5)
HOLDER = Holder(
    "ThreadPoolExecutor-0_0", 3.0, 4711, label="GET /reports/<int:pk>/", statement="SELECT " + "column, " * 25
)


def pool(target: str, **more: object) -> PoolSnapshot:
    values = {"used": 5, "idle": 3, "wait_time": TIMES, "use_time": TIMES, "create_time": TIMES} | more
    return PoolSnapshot(
        target,
        address="database.example.org:5432/site",
        settings=PoolSpec(budget=300).to_dict(),
        holders=(HOLDER,) * 5,
        backend_pids=tuple(range(4711, 4719)),
        recent_wait_time=TIMES,
        recent_use_time=TIMES,
        checkouts=700,
        pins={"SET": 3},
        at=1_795_717_513.69,
        **values,  # type: ignore[arg-type]
    )


def beat(*pools: PoolSnapshot, at: float = 1_795_717_513.69) -> ProcessBeat:
    return ProcessBeat("host-1-a", "host", 1, "web", 1.0, at, name="gunicorn", pools=pools)


TARGETS = ("default", "cache:default", "results", "vectors", "reports")


def test_both_parts_make_the_whole_and_the_one_that_is_often_written_is_small() -> None:  # P12
    whole = beat(*map(pool, TARGETS))
    often, details = split(whole)
    assert joined(often, details) == whole
    assert len(often.to_json()) <= 4000 < len(whole.to_json())
    # What verdicts are made of stays.
    for bare, full in zip(often.pools, whole.pools, strict=True):
        assert bare.number("budget") == 300
        assert bare.number("health_check_interval") == full.number("health_check_interval")
        assert (bare.used, bare.recent_wait_time, bare.backend_pids) == (5, TIMES, full.backend_pids)
        assert bare.digest == digest_of(PoolSpec(budget=300).to_dict())


def test_a_holder_of_older_details_has_held_for_so_much_longer() -> None:
    _, details = split(beat(pool("default")))
    often, _ = split(beat(pool("default"), pool("new"), at=1_795_717_517.69))
    default, new = joined(often, details).pools
    assert default.holders[0].seconds == 7.0
    assert (new.holders, new.digest) == ((), digest_of(new_settings := PoolSpec(budget=300).to_dict()))
    assert new_settings["budget"] == new.number("budget")


def test_time_alone_and_what_is_counted_are_no_news() -> None:
    first = pool("default")
    _, last = split(beat(first))
    later = replace(first, checkouts=900, holders=(replace(HOLDER, seconds=9.0),) * 5, wait_time=TIMES + TIMES)
    assert is_news(last, None)
    assert not is_news(split(beat(later))[1], last)
    for changed in (
        replace(first, holders=(HOLDER,) * 4),
        replace(first, holders=(replace(HOLDER, state="idle"),) * 5),
        replace(first, settings={**first.settings, "max_size": 7}),
    ):
        assert is_news(split(beat(changed))[1], last)
    assert is_news(split(beat())[1], last)


def test_equal_settings_have_one_digest_however_their_numbers_are_written() -> None:
    assert digest_of({"a": 30, "b": True}) == digest_of({"b": True, "a": 30.0})
    assert digest_of({"a": 30}) != digest_of({"a": 31})
    assert digest_of({"a": True}) != digest_of({"a": 1})
    assert digest_of({}) == ""
