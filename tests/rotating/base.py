"""The backend with a password that a callable gives, as sites do that have short-lived tokens."""

from typing import Any

from poolmgr.backends.postgresql.base import DatabaseWrapper as Pooled


class DatabaseWrapper(Pooled):
    """``settings_dict["TOKEN"]`` is called at each connect."""

    def get_connection_params(self) -> dict[str, Any]:
        token = self.settings_dict["TOKEN"]()
        return {**super().get_connection_params(), "password": token}
