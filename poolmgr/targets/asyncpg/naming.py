"""After which statements a name may mean something else than before: then asyncpg must not take a statement for another.

What asyncpg keeps prepared it knows by its text alone, with the types of what it named when it was prepared. Said beside a
temporary table, or in another search path, the same text may name other tables, with other types.
"""

from __future__ import annotations

import re
from collections.abc import Set

#: Of the reasons of ``pools.sql.pinning``.
_REASONS = frozenset({"temporary table", "DO block", "DISCARD", "name with escapes", "statement that can't be read"})
#: ``SET LOCAL`` too, which leaves nothing behind. A role may have a schema of its name.
_RENAMES = re.compile(
    r"search_path"
    r"|\b(re)?set\s+(session\s+|local\s+)?(\"?role\b|schema\b|session\s+authorization\b|\"?session_authorization\b|all\b)"
    r"|\bset_config\s*\((?!\s*'(?!role|session_authorization)[^']*'\s*,)",  # of what can't be read, or is a role
    re.IGNORECASE,
)


def renames(statement: str, reasons: Set[str]) -> bool:
    """Whether names may mean something else from now on; ``reasons`` are why it ties its connection to its borrower."""
    return not _REASONS.isdisjoint(reasons) or _RENAMES.search(statement) is not None
