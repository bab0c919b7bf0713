"""What kinds say of themselves agrees with what they are."""

import re

import pytest

from poolmgr.models import PoolProfile
from poolmgr.pools.kinds import Kind
from poolmgr.pools.spec import plainly
from poolmgr.targets.kinds import KINDS

OF_ALL = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


@OF_ALL
def test_help_texts_tell_the_kind_s_own_defaults(kind: Kind) -> None:
    told = {}
    for name in kind.honours:
        text = str(kind.helps.get(name, PoolProfile._meta.get_field(name).help_text))
        if found := re.search(r"Default (.+?)\.(?= |$)", text):
            told[name] = found[1]
    assert told == {name: plainly(getattr(kind.defaults, name)) for name in told}
    # All but those that are words, and what the help text of another kind says.
    assert len(told) >= len(kind.honours) - 4


@OF_ALL
def test_defaults_of_a_kind_are_what_it_allows(kind: Kind) -> None:
    assert kind.errors_in(kind.defaults.to_dict()) == {}
    assert kind.make_spec({}) == kind.defaults
