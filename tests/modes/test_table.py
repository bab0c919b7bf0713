"""Each row of the table in docs/modes.md, played on a real server and a real PgBouncer: the document says what happens."""

from typing import Any

import pytest

from tests.bouncer import Bouncer
from tests.modes.conftest import ALONE, MODES, Lead
from tests.modes.rows import ROWS, SETTINGS, played
from tests.modes.table import expected

#: The rows that tell most, for the short part.
_SHORT = ("`SET`, and a tenant's `search_path`", "`pinned()`")


def test_the_document_and_the_tests_have_the_same_rows() -> None:
    assert [*expected()] == [*ROWS]


#: Of these two rows a PgBouncer plays its version's.
_BEFORE, _SINCE = (f"`prepare_threshold`, PgBouncer {versions} 1.21" for versions in ("below", "from"))


def _cases() -> list[Any]:
    return [
        pytest.param(name, theirs, marks=() if name in _SHORT else pytest.mark.long)
        for name in ROWS
        if name != _SINCE
        for theirs in (ALONE, *MODES)
    ]


def _of_the_version(name: str, bouncer: Bouncer) -> str:
    return _SINCE if name == _BEFORE and bouncer.version >= (1, 21) else name


@pytest.mark.parametrize(("name", "theirs"), _cases())
def test_what_the_document_says_happens(lead: Lead, bouncer: Bouncer, name: str, theirs: str) -> None:  # P1, P2
    name = _of_the_version(name, bouncer)
    told, seen = expected()[name], {}
    for ours in MODES:
        with lead(ours, theirs, **SETTINGS[name]) as behind:
            seen[ours, theirs] = played(name, behind)
    assert seen == {combination: told[combination] for combination in seen}
