"""Django's own asynchronous methods, which query in threads, as ASGI servers serve them to clients that hang up half-way."""

from pathlib import Path

import pytest

from poolsite.demo.servers import EmbeddedPostgres
from tests.async_django.served import MAX_SIZE, SERVERS, site

KINDS = ["asks", "writes", "transacts", "streams", "streams-released", "waits", "sleeps", "fails"]


@pytest.mark.long
@pytest.mark.parametrize("server", SERVERS)
def test_what_django_s_own_methods_hold_comes_back_also_when_clients_hang_up(  # P2 P3 P4 P6
    postgres: EmbeddedPostgres, tmp_path: Path, server: str
) -> None:
    url = str(postgres.create_database("async_django"))
    with site(server, "threads", url, tmp_path / "log") as it:
        for seen in it.serve_in_modes(KINDS):
            assert seen["size"] <= MAX_SIZE
            assert seen["left_behind"] == 0
