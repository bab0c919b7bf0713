"""Test databases: nobody may be connected to one that is made, copied or dropped."""

from __future__ import annotations

from typing import Any

from django.db.backends.postgresql import creation as native

from poolmgr.pools import registry


class DatabaseCreation(native.DatabaseCreation):
    """Django's, with the pool and the agent out of the way first."""

    def _create_test_db(self, *args: Any, **kwargs: Any) -> Any:
        # A pool that is open now leads to the real database, not to the test database of the same alias.
        registry.quiesce(self.connection.alias)
        return super()._create_test_db(*args, **kwargs)  # type: ignore[misc]

    def _clone_test_db(self, *args: Any, **kwargs: Any) -> Any:
        self.connection.close()
        registry.quiesce(self.connection.alias)
        return super()._clone_test_db(*args, **kwargs)  # type: ignore[misc]

    def _destroy_test_db(self, *args: Any, **kwargs: Any) -> Any:
        self.connection.close()
        registry.quiesce(self.connection.alias)
        return super()._destroy_test_db(*args, **kwargs)  # type: ignore[misc]
