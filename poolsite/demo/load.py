"""What visitors ask while the self-check works on the pools, without pause, so that a request that fails would be seen."""

import itertools
import threading

from .browser import Browser
from .listener import listen
from .reader import read_figures

VISITORS = 2
PATHS = tuple(
    f"/api/search?q=thread+pool&limit=3&through={through}" for through in ("orm", "sqlalchemy", "asyncpg", "all")
)


class Load:
    def __init__(self, site: str, answers: str) -> None:
        self.requests = 0
        self.failures: list[str] = []
        self.site, self.answers = site, answers
        self._stop = threading.Event()
        visits = [self._search] * VISITORS + [self._read, self._listen]
        self._threads = [threading.Thread(target=visit, daemon=True) for visit in visits]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _search(self) -> None:
        browser = Browser(self.site)
        for path in itertools.cycle(PATHS):
            if self._stop.wait(0.02):
                return
            try:
                page = browser.get(path)
                self._note("" if page.status == 200 else f"{path} answered {page.status}: {page.text[:200]}")
            except OSError as error:
                self._note(f"{path}: {error}")

    def _read(self) -> None:
        browser = Browser(self.site)
        while not self._stop.wait(0.1):
            try:
                self._note(read_figures(browser, self._stop))
            except OSError as error:
                self._note(f"the figures: {error}")

    def _listen(self) -> None:
        while not self._stop.wait(0.1):
            try:
                heard = listen(self.answers)
                self._note(heard if isinstance(heard, str) else "")
            except OSError as error:
                self._note(f"the answers: {error}")

    def _note(self, failure: str) -> None:
        self.requests += 1
        if failure:
            self.failures.append(failure)
