"""What may be a validation query."""

from __future__ import annotations

import re
from typing import Any

from poolmgr.secrets import HIDDEN, is_secret, shown

_ONE_SELECT = re.compile(r"\s*select\b", re.IGNORECASE)
#: What a transaction that only reads refuses anyway, and what it can't undo.
_MORE_THAN_READS = re.compile(
    r"(u&\"|\b(?:into|for\s+(?:no\s+key\s+update|update|key\s+share|share)|set_config|nextval|setval|setseed|set_limit"
    r"|pg_(?:try_)?advisory\w*|pg_notify|pg_terminate_backend|pg_cancel_backend|pg_reload_conf|pg_sleep\w*"
    r"|pg_(?:switch|create|drop|promote|logical|replication)\w*|pg_read\w*|pg_ls\w*|lo_\w+|dblink\w*"
    r"|pg_stat_reset\w*|query_to_xml\w*|cursor_to_xml\w*|table_to_xml\w*)\b)",
    re.IGNORECASE,
)


def select_error(query: Any) -> str:
    """Why ``query`` can't be a validation query, or an empty string.

    A validation query runs on connections that belong to nobody yet, so it must be one plain SELECT that leaves nothing
    behind. Whatever passes here is run by the pool in a transaction that only reads.
    """
    if isinstance(query, str) and is_secret(query):
        return f"{HIDDEN}, since it seems to hold a password, which whoever looks at the settings would see"
    if not isinstance(query, str) or not _ONE_SELECT.match(query):
        return f"{shown(query)} is not one SELECT statement, such as SELECT 1"
    body = query.strip().removesuffix(";")
    if ";" in body:
        return f"{query!r} has more than one statement; use one SELECT, such as SELECT 1"
    if found := _MORE_THAN_READS.search(query):
        return f"{query!r} does more than read ({found.group()}); use one plain SELECT, such as SELECT 1"
    if "\x00" in query or len(query) > 500:
        return "the query must be at most 500 characters of plain text"
    return ""
