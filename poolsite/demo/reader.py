"""A visitor who reads the figures and has words counted, as the buttons and pages of the site have it."""

import threading
import time

from .browser import Browser

#: Seconds for which they look for what a worker counts.
PATIENCE = 30


def read_figures(browser: Browser, stop: threading.Event) -> str:
    """What went wrong, or an empty string."""
    page = browser.get("/reports/")
    if page.status != 200:
        return f"/reports/ answered {page.status}: {page.text[:200]}"
    began = time.monotonic()
    page = browser.post("/reports/words/", page.form())
    while page.status == 200 and "A worker counts." in page.text and not stop.wait(0.2):
        if time.monotonic() > began + PATIENCE:
            return f"no worker counted within {PATIENCE} s"
        page = browser.get(page.url.removeprefix(browser.site))
    wrong = page.status != 200 or "how many docstrings have them" not in page.text
    return f"{page.url} answered {page.status}: {page.text[-600:]}" if wrong and not stop.is_set() else ""
