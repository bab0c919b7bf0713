"""The half of the backend that is for threads: ours, beside one for tasks."""

from __future__ import annotations

from typing import Any

import psycopg
from django.db.backends.postgresql import base as native

from poolmgr.backends.postgresql.base import DatabaseWrapper as Pooled


class DatabaseWrapper(Pooled):
    """Django's PostgreSQL backend on managed pools."""

    def get_connection_params(self) -> dict[str, Any]:
        """As Django's, but that a ``cursor_factory`` of the settings may be for tasks."""
        params = super().get_connection_params()
        if is_for_tasks(params["cursor_factory"]):
            by_server = self.settings_dict["OPTIONS"].get("server_side_binding") is True
            params["cursor_factory"] = native.ServerBindingCursor if by_server else native.Cursor
        return params


def is_for_tasks(factory: Any) -> bool:
    return isinstance(factory, type) and issubclass(factory, psycopg.AsyncCursor)
