"""Settings: what is read from OPTIONS, and what is refused with which words."""

import pytest

from poolmgr.exceptions import InvalidSpec
from poolmgr.pools.plan import Action, plan
from poolmgr.pools.spec import FIELDS, PoolSpec, errors_in, make_spec
from poolmgr.targets.postgresql.options import from_options


def test_true_and_a_missing_key_mean_the_defaults() -> None:  # P1
    assert from_options(True) == (PoolSpec(), {})
    assert from_options(None) == (PoolSpec(), {})


def test_every_key_of_the_native_pool_is_taken() -> None:  # P1
    def failed(pool: object) -> None: ...

    native = {
        "min_size": 3, "max_size": 5, "timeout": 7, "max_waiting": 9, "max_lifetime": 100, "max_idle": 50,
        "reconnect_timeout": 20, "name": "main", "num_workers": 2, "close_returns": False, "reconnect_failed": failed,
        "reset": None,
    }  # fmt: skip
    spec, passed = from_options(native)
    assert (spec.min_size, spec.max_size, spec.max_waiting) == (3, 5, 9)
    assert (spec.connection_timeout, spec.idle_timeout, spec.max_lifetime, spec.reconnect_timeout) == (7, 50, 100, 20)
    assert passed == {
        "name": "main", "num_workers": 2, "close_returns": False, "reconnect_failed": failed, "reset": None,
    }  # fmt: skip


def test_a_min_size_alone_means_a_pool_of_fixed_size_as_in_psycopg_pool() -> None:  # P1
    spec, _ = from_options({"min_size": 6})
    assert (spec.min_size, spec.max_size) == (6, 6)
    spec, _ = from_options({"min_size": 6, "max_size": None})
    assert (spec.min_size, spec.max_size) == (6, 6)


def test_a_max_size_alone_lowers_the_default_min_size_where_it_must() -> None:
    spec, _ = from_options({"max_size": 1})
    assert (spec.min_size, spec.max_size) == (1, 1)


def test_a_setting_given_under_both_its_names_is_refused() -> None:
    with pytest.raises(InvalidSpec, match="timeout: given together with connection_timeout"):
        from_options({"timeout": 3, "connection_timeout": 4})


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("pool_mode", "sesion", "'sesion' is not one of session, transaction, statement"),
        ("min_size", -1, "-1 is not between 0 and"),
        ("min_size", 11, "11 is more than max_size"),
        ("min_size", True, "True is not a whole number"),
        ("min_size", 2.5, "2.5 is not a whole number"),
        ("max_size", 0, "0 is not between 1 and"),
        ("budget", 1, "1 is less than the min_size"),
        ("connection_timeout", 0, "0 is not between 0.05 and"),
        ("connection_timeout", "30", "'30' is not a number of seconds"),
        ("connection_timeout", float("nan"), "nan is not a number of seconds"),
        ("idle_timeout", -5, "-5 is not between 0 and"),
        ("idle_timeout", -5.0, "-5 is not between 0 and"),
        ("max_lifetime", float("inf"), "inf is not between 0 and"),
        ("validation", "ping", "'ping' is not one of socket, query, off"),
        ("validation_query", "DELETE FROM x", "is not one SELECT statement"),
        ("validation_query", "SELECT 1; DROP TABLE x", "has more than one statement"),
        ("validation_query", "", "is not one SELECT statement"),
        ("validation_query", "SELECT set_config('a.b', 'c', false)", "does more than read (set_config)"),
        ("validation_query", "SELECT * INTO x FROM y", "does more than read (INTO)"),
        ("validation_query", "SELECT pg_advisory_lock(1)", "does more than read (pg_advisory_lock)"),
        ("validation_query", "SELECT 1 FROM x FOR UPDATE", "does more than read (FOR UPDATE)"),
        ("validation_query", "SELECT pg_stat_reset()", "does more than read (pg_stat_reset)"),
        ("validation_query", 'SELECT U&"pg_\\0061dvisory_lock"(1)', 'does more than read (U&")'),
        ("validation_query", "SELECT " + "1" * 600, "at most 500 characters"),
    ],
)
def test_bad_values_are_refused_with_the_field_the_value_and_what_is_allowed(
    field: str, value: object, words: str
) -> None:
    found = errors_in({**PoolSpec().to_dict(), field: value})
    assert words in found[field]


def test_one_wrong_setting_spoils_no_look_at_another() -> None:
    found = errors_in({**PoolSpec().to_dict(), "min_size": "many", "budget": 1})
    assert found == {"min_size": "'many' is not a whole number"}


def test_all_errors_are_told_at_once() -> None:
    with pytest.raises(InvalidSpec) as caught:
        make_spec({"min_size": -1, "validation": "ping"})
    assert caught.value.errors.keys() == {"min_size", "validation"}


def test_an_unknown_key_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidSpec, match=r"max_sise: unknown setting; allowed are .*max_size"):
        from_options({"max_sise": 5})


def test_something_that_is_no_dict_is_refused() -> None:
    with pytest.raises(InvalidSpec, match="'yes' is not True, False or a dict"):
        from_options("yes")


def test_equal_settings_are_kept() -> None:  # P5
    assert plan(PoolSpec(), PoolSpec()).action is Action.KEEP


@pytest.mark.parametrize("field", [each for each in FIELDS if each not in {"min_size", "max_size"}])
def test_everything_but_a_size_is_tuned_in_place(field: str) -> None:  # P5
    values = PoolSpec().to_dict()
    value = values[field]
    other = {"pool_mode": "transaction", "validation": "query", "validation_query": "SELECT 2"}.get(field, value)
    changed = make_spec({**values, field: other if isinstance(value, str) else value + 11})
    made = plan(PoolSpec(), changed)
    assert made.action is Action.TUNE
    assert made.changes.keys() == {field}


def test_sizes_are_changed_in_place() -> None:  # P5
    assert plan(PoolSpec(), make_spec({"max_size": 20})).action is Action.RESIZE


@pytest.mark.parametrize("name", ["check", "reset", "reconnect_failed"])
def test_a_hook_that_would_have_to_be_awaited_is_refused(name: str) -> None:
    async def hook(conn: object) -> None: ...

    with pytest.raises(InvalidSpec, match=f"{name}: is a coroutine function, but must be a plain one"):
        from_options({name: hook})
