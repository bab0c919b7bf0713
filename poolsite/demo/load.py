"""What visitors ask while the self-check works on the pools, without pause, so that a request that fails would be seen."""

import itertools
import threading

from .browser import Browser

VISITORS = 2
#: In turn; the last one is dear.
PATHS = (
    "/api/search?q=thread+pool&limit=3&through=orm",
    "/api/search?q=thread+pool&limit=3&through=sqlalchemy",
    "/api/search?q=thread+pool&limit=3&through=both",
    "/api/search?q=thread+pool&limit=3&through=orm",
    "/reports/",
)


class Load:
    def __init__(self, site: str) -> None:
        self.requests = 0
        self.failures: list[str] = []
        self._browser = Browser(site)
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._visit, args=[at], daemon=True) for at in range(VISITORS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _visit(self, at: int) -> None:
        for path in itertools.islice(itertools.cycle(PATHS), at, None):
            if self._stop.wait(0.02):
                return
            try:
                page = self._browser.get(path)
                failure = "" if page.status == 200 else f"{path} answered {page.status}: {page.text[:200]}"
            except OSError as error:
                failure = f"{path}: {error}"
            self.requests += 1
            if failure:
                self.failures.append(failure)
