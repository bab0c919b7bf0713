"""What PgBouncer's configuration means in our words."""

import pytest

from poolmgr.targets.pgbouncer.kind import PGBOUNCER
from poolmgr.targets.pgbouncer.words import fields_of


@pytest.mark.parametrize(
    ("query", "delay", "means"),
    [
        ("select 1", "30", {"validation": "socket", "validate_after_idle": 30.0, "validation_query": "select 1"}),
        ("select 1", "0", {"validation": "query", "validation_query": "select 1"}),
        ("", "30", {"validation": "off"}),
        # What version 1.25 and later ones have where nobody has said otherwise: a statement with nothing in it.
        ("<empty>", "30", {"validation": "socket", "validate_after_idle": 30.0}),
    ],
)
def test_each_way_of_checking_has_its_words_and_can_be_saved(query: str, delay: str, means: dict[str, object]) -> None:
    found = fields_of({"server_check_query": query, "server_check_delay": delay}, 1)
    assert found == means
    assert PGBOUNCER.make_spec(found).validation == means["validation"]
