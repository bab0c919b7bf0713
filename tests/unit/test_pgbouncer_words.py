"""What PgBouncer's configuration means in our words."""

import pytest

from poolmgr.conf import Declared
from poolmgr.exceptions import InvalidSpec
from poolmgr.targets.pgbouncer.consoles import places
from poolmgr.targets.pgbouncer.kind import PGBOUNCER
from poolmgr.targets.pgbouncer.words import fields_of


@pytest.mark.parametrize("query", ["SELECT 1 -- " + "x" * 242, "SELECT '" + "é" * 130 + "'"])
def test_a_query_that_the_console_would_not_take_is_refused_before(query: str) -> None:  # P9
    with pytest.raises(
        InvalidSpec, match=r"validation_query: .*longer than the 255 bytes that PgBouncer's console takes"
    ):
        PGBOUNCER.make_spec({"validation_query": query})
    assert PGBOUNCER.make_spec({"validation_query": query.replace("xx", "").replace("éé", "")})


@pytest.mark.parametrize(
    ("host", "address"), [("10.0.0.1", "10.0.0.1:6432"), ("[::1]", "[::1]:6432"), ("%2Frun%2Fpg", "/run/pg:6432")]
)
def test_an_address_is_told_as_others_write_it(host: str, address: str) -> None:
    each = Declared("bouncer", "pgbouncer", f"postgresql://boss@{host}/pgbouncer", {}, {"DATABASES": ["app"]})
    assert [place.address for place in places(each)] == [address]


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
