"""A database on a server of the test's own that is a target meanwhile, beside that of the site."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from django.db import connections

from poolmgr.pools import registry

ELSEWHERE = "elsewhere"


@contextmanager
def elsewhere(server: Any, alias: str = ELSEWHERE) -> Iterator[str]:
    """Its URL."""
    url = server.create_database(alias)
    place = {"NAME": alias, "PORT": str(server.port), "PASSWORD": urlsplit(url).password}
    connections.settings[alias] = {**connections.settings["default"], **place}
    try:
        yield url
    finally:
        connections[alias].close()
        registry.close(alias)
        del connections[alias]
        del connections.settings[alias]
