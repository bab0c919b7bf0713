"""The screens on which every page has to fit and be legible."""

import pytest

from tests.sampling import first_always

NARROW, WIDE = 390, 1440

each_screen = pytest.mark.parametrize(
    ("width", "scheme"), first_always((NARROW, "light"), (WIDE, "dark"), (WIDE, "light"), (NARROW, "dark"))
)
