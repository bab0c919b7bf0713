"""A headless Chromium, and a live server with an operator and a pool to look at."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from tests.agents import without_agent
from tests.browser.acting import follow
from tests.browser.pictures import smaller
from tests.integration.console import PASSWORD, own_fleet, person
from tests.integration.holding import fleet_of_its_own
from tests.waiting import until

selenium = pytest.importorskip("selenium", reason="needs selenium: pip install -r requirements-dev.txt")

from selenium import webdriver  # noqa: E402
from selenium.webdriver.chrome.options import Options  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.ui import Select  # noqa: E402

SWITCHES = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
)  # fmt: skip


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not browser or not driver:
        pytest.skip("needs Chromium and its driver: apt install chromium chromium-driver")
    options = Options()
    options.binary_location = browser
    profile: Path = tmp_path_factory.mktemp("chromium")
    for switch in (*SWITCHES, f"--user-data-dir={profile}"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    made = webdriver.Chrome(options=options, service=Service(driver))
    made.set_page_load_timeout(30)
    yield made
    made.quit()


_ELSEWHERE = """
const [stack, site, python] = arguments, walker = document.createTreeWalker(stack, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const node = walker.currentNode;
  node.nodeValue = node.nodeValue.replaceAll(site, "/srv/site").replaceAll(python, "/usr");
}
"""


class Page:
    """The browser, signed in to the live server."""

    def __init__(self, driver: webdriver.Chrome, address: str) -> None:
        self.driver = driver
        self.address = address
        self.scripts(True)
        self.offline(False)
        self.size(1500)
        self.colours("light")

    def sign_in(self, name: str, to: str = "/pools/") -> None:
        self.driver.execute_cdp_cmd("Network.clearBrowserCookies", {})
        self.open(f"/admin/login/?next={to}")
        self.one("[name=username]").send_keys(name)
        self.one("[name=password]").send_keys(PASSWORD)
        self.one("[type=submit]").click()
        until(lambda: self.driver.current_url == self.address + to, "the page behind the login")

    def open(self, path: str) -> None:
        self.driver.get(self.address + path)

    def one(self, selector: str) -> Any:
        """The first element that fits, as soon as the page has it: a click may have left another page before."""
        return until(lambda: self.all(selector), f"an element that fits {selector!r}")[0]

    def all(self, selector: str) -> list[Any]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        # textContent, read in one step: a refresh may replace an element between finding and reading it.
        return str(self.run(f"return document.querySelector({json.dumps(selector)})?.textContent.trim() ?? ''"))

    def texts(self, selector: str) -> list[str]:
        found = f"[...document.querySelectorAll({json.dumps(selector)})].map(node => node.textContent.trim())"
        return [str(each) for each in self.run(f"return {found}")]

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def size(self, width: int, height: int = 1000) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def colours(self, scheme: str) -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def scripts(self, on: bool) -> None:
        self.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not on})

    def offline(self, on: bool) -> None:
        self.driver.execute_cdp_cmd("Network.enable", {})
        conditions = {"offline": on, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        self.driver.execute_cdp_cmd("Network.emulateNetworkConditions", conditions)

    def slow(self, seconds: float) -> None:
        """Let every answer take so long."""
        conditions = {"offline": False, "latency": seconds * 1000, "downloadThroughput": -1, "uploadThroughput": -1}
        self.driver.execute_cdp_cmd("Network.emulateNetworkConditions", conditions)

    def painted(self) -> bytes:
        """What is to be seen, as a PNG, whose stacks lie where a deployment has its files."""
        self.run("document.activeElement?.blur()")
        for stack in self.all(".pm-stack"):
            self.run(_ELSEWHERE, stack, str(Path(__file__).parents[2]), sys.base_prefix)
        return bytes(self.driver.get_screenshot_as_png())

    def complaints(self) -> list[str]:
        """Errors and violations of the content policy that the console holds since the last question."""
        found = [
            entry["message"] for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")
        ]
        # What an earlier page still asked of a server that has ended is none of this one's.
        return [each for each in found if "favicon.ico" not in each and (self.address in each or "http" not in each)]


@pytest.fixture
def page(chromium: webdriver.Chrome, live_server: Any, settings: Any, redis_server: Any) -> Iterator[Page]:
    own_fleet(settings, redis_server)
    # A report that a test makes once is there also when the browser takes its time.
    settings.POOLMGR = {**settings.POOLMGR, "PROCESS_TTL": 600}
    person("operator", superuser=True)
    made = Page(chromium, live_server.url)
    made.complaints()
    yield made
    made.scripts(True)
    made.offline(False)
    # Nothing of this page may still ask the server that ends now.
    chromium.get("about:blank")


@pytest.fixture
def watched(page: Page, settings: Any, redis_server: Any) -> Iterator[Page]:
    """The overview, open, of a fleet in which this process alone is, with three connections."""
    fleet_of_its_own(settings, redis_server)
    connection.close()
    follow(max_size=3)
    page.sign_in("operator")
    Select(page.one("#pm-interval")).select_by_value("2")
    yield page
    without_agent()


@pytest.fixture
def acting() -> Iterator[ExitStack]:
    """What ends when the test does, whatever became of it."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture(scope="session")
def pictures() -> Iterator[dict[Path, bytes]]:
    """Those that were taken, which are written at the end: to make them small takes seconds that an incident has not."""
    taken: dict[Path, bytes] = {}
    yield taken
    for path, png in taken.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(smaller(png))


@pytest.fixture
def picture(request: pytest.FixtureRequest, pictures: dict[Path, bytes]) -> Callable[..., None]:
    """Keep what the browser shows: picture(page, "full", "light", "dark"), if ``--pictures`` names a directory."""
    given = request.config.getoption("pictures")

    def take(page: Page, name: str, *schemes: str) -> None:
        if given:
            page.size(1440, 900)
            for scheme in schemes:
                page.colours(scheme)
                suffix = "" if scheme == "light" else f"-{scheme}"
                pictures[request.config.rootpath / given / f"{name}{suffix}.png"] = page.painted()
            page.colours("light")

    return take
