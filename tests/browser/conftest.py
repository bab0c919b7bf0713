"""A headless Chromium, and a live server with an operator and a pool to look at."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.console import PASSWORD, own_fleet, person
from tests.waiting import until

selenium = pytest.importorskip("selenium", reason="needs selenium: pip install -r requirements-dev.txt")

from selenium import webdriver  # noqa: E402
from selenium.webdriver.chrome.options import Options  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402

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
        self.driver.delete_all_cookies()
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
    person("operator", superuser=True)
    made = Page(chromium, live_server.url)
    made.complaints()
    yield made
    made.scripts(True)
    made.offline(False)
    # Nothing of this page may still ask the server that ends now.
    chromium.get("about:blank")
