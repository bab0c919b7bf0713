"""Test databases: nobody may be connected to one that is made, copied or dropped."""

from __future__ import annotations

from typing import Any

from django.db import connections
from django.db.backends.postgresql import creation as native

from poolmgr.pools import registry


class DatabaseCreation(native.DatabaseCreation):
    """Django's, with pools and the agent out of the way first."""

    def _create_test_db(self, *args: Any, **kwargs: Any) -> Any:
        # A pool that is open now leads to the real database, not to the test database of the same alias.
        template = self.connection.settings_dict["TEST"].get("TEMPLATE")
        self._clear(self.connection.settings_dict["NAME"], self._get_test_db_name(), template)  # type: ignore[attr-defined]
        return super()._create_test_db(*args, **kwargs)  # type: ignore[misc]

    def _clone_test_db(self, suffix: str, *args: Any, **kwargs: Any) -> Any:
        self._clear(self.connection.settings_dict["NAME"], self.get_test_db_clone_settings(suffix)["NAME"])
        return super()._clone_test_db(suffix, *args, **kwargs)  # type: ignore[misc]

    def _destroy_test_db(self, test_database_name: str, *args: Any, **kwargs: Any) -> Any:
        self._clear(self.connection.settings_dict["NAME"], test_database_name)
        return super()._destroy_test_db(test_database_name, *args, **kwargs)  # type: ignore[misc]

    def _clear(self, *names: str | None) -> None:
        """Let go of every connection to databases of these names, under whatever alias.

        By their names alone: a host is spelled in several ways, and a test mirror keeps that of its own.
        """
        aliases = {self.connection.alias}
        aliases.update(alias for alias in connections if connections.settings[alias]["NAME"] in names)
        aliases.update(pool.target for pool in registry.pools() if pool.address.partition("/")[2] in names)
        for wrapper in (self.connection, *connections.all(initialized_only=True)):
            if wrapper.alias in aliases:
                wrapper.close()
        for alias in sorted(aliases):
            registry.quiesce(alias)
