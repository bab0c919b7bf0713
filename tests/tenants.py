"""A database backend that a site has made its own, as multi-tenant packages do."""

from typing import Any

from poolmgr.backends.postgresql.base import DatabaseWrapper


class Tenants(DatabaseWrapper):
    """Sets the tenant's schema at the first cursor on a connection, and remembers that until ``close()``."""

    schema = "public"
    _set: str | None = None

    def close(self) -> None:
        self._set = None
        super().close()

    def _cursor(self, name: str | None = None) -> Any:
        cursor = super()._cursor(name)
        if self._set != self.schema:
            with self.connection.cursor() as own:
                own.execute(f'SET search_path = "{self.schema}"')
            self._set = self.schema
        return cursor
