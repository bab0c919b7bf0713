"""Why connections are pinned, for pages: pools and figures have the reasons by names, some of which are SQL's own words."""

from __future__ import annotations

from poolmgr.control.reporting.spoken import spoken
from poolmgr.metrics.phrases import phrase

#: Those that are English.
_REASONS = {
    str(each): each
    for each in (
        phrase("advisory lock"),
        phrase("attribute of the connection"),
        phrase("block of psycopg's"),
        phrase("closed by its borrower"),
        phrase("cursor WITH HOLD"),
        phrase("cursor of another class"),
        phrase("DO block"),
        phrase("name with escapes"),
        phrase("new extension"),
        phrase("notices or notifications"),
        phrase("open server-side cursor"),
        phrase("random seed"),
        phrase("sequence"),
        phrase("server-side cursor of psycopg's own"),
        phrase("set by the database wrapper"),
        phrase("statement prepared by a name"),
        phrase("statement that can't be read"),
        phrase("subscription"),
        phrase("temporary table"),
        phrase("transaction"),
        phrase("transaction characteristics"),
        phrase("two-phase transaction"),
        phrase("type codec"),
    )
}


def reason_said(reason: str) -> str:
    """One of them."""
    return spoken(_REASONS.get(reason, reason))


def reasons_said(reasons: str) -> str:
    """Several, as a holder has them."""
    return ", ".join(map(reason_said, reasons.split(", ")))
