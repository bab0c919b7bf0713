"""Forked children: they never touch their parent's sessions, and have pools of their own."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.sampling import first_always

pytestmark = pytest.mark.faults

MODES = first_always("session", "transaction", "statement")

Run = Callable[..., dict[str, Any]]


@pytest.fixture(params=MODES)
def fork(request: pytest.FixtureRequest, program: Run) -> Callable[..., dict[str, Any]]:
    """fork("scene", by="libc"): the scene of programs/forks.py, in each mode."""

    def run(scene: str, by: str = "python") -> dict[str, Any]:
        told = program("forks", scene, by, pool_mode=request.param)
        assert told.pop("stderr") == ""
        return told

    return run


Fork = Callable[..., dict[str, Any]]
#: By Python, whose hooks tell of it, and as uWSGI, embedders and C extensions do.
whoever_forks = pytest.mark.parametrize("by", first_always("python", "libc"))


@whoever_forks
def test_a_child_has_connections_of_its_own_and_leaves_the_parents_alone(fork: Fork, by: str) -> None:  # P3
    told = fork("idle", by)
    assert told == {"child": {"answer": [False, False, True], "status": 0}, "kept": True, "parent": True}


@pytest.mark.long
@whoever_forks
@pytest.mark.parametrize("fork", ["transaction"], indirect=True)
def test_threads_of_the_parent_that_waited_are_no_danger_to_the_childs(fork: Fork, by: str) -> None:
    assert fork("waiting", by) == {"child": {"answer": 200, "status": 0}}


@whoever_forks
def test_a_fork_while_a_connection_is_borrowed_shares_neither_it_nor_its_state(fork: Fork, by: str) -> None:  # P2 P3
    told = fork("borrowed", by)
    assert told == {"child": {"answer": [False, "4MB"], "status": 0}, "same": True, "state": "7MB"}


@pytest.mark.long
@whoever_forks
@pytest.mark.parametrize("fork", MODES[:2], indirect=True)
def test_a_fork_inside_atomic_leaves_the_transaction_to_the_parent(fork: Fork, by: str) -> None:  # P3
    told = fork("in_atomic", by)
    # The child's count sees nothing of the transaction, or its commit: it is asked after the parent waited for it.
    assert told["child"][0] == "Cannot open a new connection in an atomic block."
    assert told["child"][1:] == [False, 0]
    assert (told["same"], told["rows"]) == (True, 1)


@pytest.mark.long
@whoever_forks
def test_a_cursor_that_is_open_at_the_fork_works_on_in_the_parent_only(fork: Fork, by: str) -> None:  # P3
    told = fork("open_cursor", by)
    assert told == {"child": {"answer": ["InterfaceError", 5], "status": 0}, "rows": 1000, "alive": 5}


@whoever_forks
@pytest.mark.parametrize("fork", MODES[:2], indirect=True)
def test_workers_of_one_master_get_their_own_answers_on_sessions_of_their_own(fork: Fork, by: str) -> None:  # P3
    told = fork("workers", by)
    assert told == {"wrong": [0] * 3, "shared": [0] * 3, "apart": True, "parent": True}


@pytest.mark.long
@whoever_forks
@pytest.mark.parametrize("fork", ["session"], indirect=True)
def test_a_child_ends_no_transaction_on_a_connection_without_a_pool(fork: Fork, by: str) -> None:  # P3
    assert fork("unpooled_transaction", by) == {"status": 0, "rows": 0, "parent": True}


@pytest.mark.long
@whoever_forks
@pytest.mark.parametrize("fork", MODES[:2], indirect=True)
def test_a_subclass_forgets_what_it_has_set_on_its_parent_s_connection(fork: Fork, by: str) -> None:  # P2
    told = fork("subclass", by)
    assert told == {"before": "acme", "child": {"answer": ["acme", "acme"], "status": 0}, "after": "acme"}


@pytest.mark.long
@whoever_forks
@pytest.mark.parametrize("fork", ["session"], indirect=True)
def test_a_child_looks_at_no_thread_of_its_parent_s(fork: Fork, by: str) -> None:  # P4
    assert fork("threads", by) == {"answer": [True, 5], "status": 0}


@pytest.mark.long
def test_forks_under_load_hang_no_child_and_break_no_query(fork: Fork) -> None:  # P3 P8
    assert fork("under_load") == {"answers": [5] * 8, "errors": []}


def test_a_child_keeps_no_session_of_a_killed_parent_open(fork: Fork) -> None:  # P4
    assert fork("killed_parent_frees_its_sessions") == {"left": 0}


@pytest.mark.long
@whoever_forks
def test_an_inherited_pool_is_closed_and_its_connections_out_of_reach(fork: Fork, by: str) -> None:  # P3
    told = fork("raw_pool", by)
    assert told["alive"] is True
    assert told["child"] == {"answer": [True, "OperationalError"], "status": 0}


@pytest.mark.long
def test_multiprocessing_workers_have_pools_of_their_own(fork: Fork) -> None:  # P3 P6
    told = fork("worker_pool")
    assert (told["shared"], told["kept"]) == (0, True)
    assert told["most"] <= 3
