"""What may be a validation query."""

from __future__ import annotations

import re
from typing import Any

from poolmgr.metrics.phrases import phrase
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
        return phrase(
            "%(hidden)s, since it seems to hold a password, which whoever looks at the settings would see",
            hidden=HIDDEN,
        )
    if not isinstance(query, str) or not _ONE_SELECT.match(query):
        return phrase("%(query)s is not one SELECT statement, such as SELECT 1", query=shown(query))
    body = query.strip().removesuffix(";")
    if ";" in body:
        return phrase("%(query)s has more than one statement; use one SELECT, such as SELECT 1", query=repr(query))
    if found := _MORE_THAN_READS.search(query):
        return phrase(
            "%(query)s does more than read (%(what)s); use one plain SELECT, such as SELECT 1",
            query=repr(query),
            what=found.group(),
        )
    if "\x00" in query or len(query) > 500:
        return phrase("the query must be at most 500 characters of plain text")
    return ""
