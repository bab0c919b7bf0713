"""A process whose queries are forbidden, by a patched method, before the backend is imported."""

import json
from typing import Any, NoReturn

from django.db.backends.base.base import BaseDatabaseWrapper

from tests.faults.programs.site import configure, query

own = BaseDatabaseWrapper.ensure_connection


def guard(*args: Any, **kwargs: Any) -> NoReturn:
    raise RuntimeError("Database access not allowed")


def attempt() -> str:
    try:
        query()
    except RuntimeError:
        return "forbidden"
    return "queried"


BaseDatabaseWrapper.ensure_connection = guard  # type: ignore[method-assign]
configure()
told = [attempt()]
BaseDatabaseWrapper.ensure_connection = own  # type: ignore[method-assign]
told.append(attempt())
BaseDatabaseWrapper.ensure_connection = guard  # type: ignore[method-assign]
told.append(attempt())
BaseDatabaseWrapper.ensure_connection = own  # type: ignore[method-assign]
told.append(attempt())
print(json.dumps(told))
