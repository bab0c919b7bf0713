"""Async views on the backend with a half for tasks, as ASGI servers serve them to clients that hang up half-way."""

from pathlib import Path

import pytest

from poolsite.demo.servers import EmbeddedPostgres
from tests.async_django.served import MAX_SIZE, SERVERS, site

KINDS = [
    "asks",
    "writes",
    "transacts",
    "streams",
    "streams-released",
    "asks-and-streams",
    "streams-in-a-transaction",
    "waits",
    "sleeps",
    "fails",
]


@pytest.mark.parametrize("server", SERVERS)
def test_what_views_of_tasks_hold_comes_back_also_when_clients_hang_up(  # P2 P3 P4 P6
    postgres: EmbeddedPostgres, tmp_path: Path, server: str
) -> None:
    url = str(postgres.create_database("async_django"))
    with site(server, "tasks", url, tmp_path / "log") as it:
        for seen in it.serve_in_modes(KINDS):
            assert seen["size"] <= MAX_SIZE
            assert (seen["reclaimed"], seen["left_behind"]) == (0, 0), seen
        # Who waits for a model holds nothing: more of them than there are connections, all at once.
        it.serve(["streams"], turns=4 * MAX_SIZE)


@pytest.mark.long
@pytest.mark.parametrize(
    "environment",
    [{"MIDDLEWARE": "tests.async_django.site.views.SyncMiddleware"}, {"WITHOUT_SIGNALS": "1"}],
    ids=["behind a middleware that is not async", "without the package's signals"],
)
@pytest.mark.parametrize("server", SERVERS)
def test_what_they_hold_comes_back_too_where_the_package_closes_nothing(  # P2 P3 P4 P6
    postgres: EmbeddedPostgres, tmp_path: Path, server: str, environment: dict[str, str]
) -> None:
    url = str(postgres.create_database("async_django"))
    with site(server, "tasks", url, tmp_path / "log", **environment) as it:
        for seen in it.serve_in_modes(KINDS, timeout=3.0 + 5.0):
            assert (seen["left_behind"], seen["reclaimed"]) == (0, 0), seen
