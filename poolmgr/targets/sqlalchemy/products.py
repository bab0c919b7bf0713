"""What people call a server, and its version."""

from __future__ import annotations

from typing import Any

#: What people call the servers of the dialects that SQLAlchemy brings.
_PRODUCTS = {
    "postgresql": "PostgreSQL",
    "mysql": "MySQL",
    "mariadb": "MariaDB",
    "sqlite": "SQLite",
    "oracle": "Oracle",
    "mssql": "SQL Server",
}


def version_of(dialect: Any) -> str:
    """The product and its version, as far as a connection has told it."""
    name = "mariadb" if getattr(dialect, "is_mariadb", False) else dialect.name
    numbers = getattr(dialect, "server_version_info", None) or ()
    return " ".join((_PRODUCTS.get(name, name), ".".join(str(part) for part in numbers))).rstrip()
