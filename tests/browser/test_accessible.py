"""Every page of the console, looked at by axe-core."""

from __future__ import annotations

from typing import Any

import pytest
from axe_core_python.selenium import Axe  # type: ignore[import-untyped]
from django.utils import timezone

from poolmgr.models import Episode
from tests.integration.console import beat, calm

from .conftest import Page
from .test_overview_browser import large_fleet

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.long]

PAGES = (
    "/pools/", "/pools/targets/default/", "/pools/targets/default/settings/", "/pools/processes/large-11/", "/pools/events/",
    "/pools/history/?target=default", "/pools/help/exhausted/", "/pools/confirm/?kind=pause&target=default",
)  # fmt: skip
#: What is ours: the rest is the admin's.
OURS = {"include": [["#content"], [".breadcrumbs"]]}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_has_a_serious_finding(page: Page, scheme: str) -> None:
    large_fleet(12)
    beat(calm())
    now = timezone.now()
    Episode.objects.create(
        target="default",
        family="exhausted",
        code="exhausted",
        state="critical",
        sentence="9 wait.",
        began_at=now,
        seen_at=now,
    )
    page.sign_in("operator")
    page.colours(scheme)
    found = {}
    for path in PAGES:
        page.open(path)
        assert "404" not in page.driver.title, path
        for each in _violations(page):
            found[path, each["id"]] = [node["html"][:200] for node in each["nodes"]]
    assert found == {}


def _violations(page: Page) -> list[dict[str, Any]]:
    told = Axe().run(page.driver, context=OURS, options={"resultTypes": ["violations"]})
    return [each for each in told["violations"] if each["impact"] in ("serious", "critical")]
