"""A few searches a second, so that there is something to watch: each asks for words that an earlier answer contained.

Now and then somebody reads the figures, and has a worker count.
"""

import argparse
import json
import random
import re
import threading
import urllib.error
import urllib.parse
import urllib.request

from .browser import Browser
from .listener import listen
from .processes import stop_on_signals
from .reader import read_figures

FIRST = ("file", "thread", "socket", "string", "date", "process", "module", "error")
THROUGH = ("orm", "sqlalchemy", "asyncpg")
MOST_WORDS = 2_000
REPORT_EVERY = 60
VISITORS = 3
_WORD = re.compile(r"[A-Za-z]{4,}")


class Visitors:
    """What the visitors know together, and what they met."""

    def __init__(self, site: str, rate: float, answers: str) -> None:
        self.site, self.answers = site, answers
        self.pause = VISITORS / rate
        self.words = list(FIRST)
        self.searches = 0
        self.failures = 0
        self.stop = threading.Event()
        self._random = random.Random()

    def visit(self) -> None:
        # Visitors don't come on the beat: pauses spread evenly around the mean.
        while not self.stop.wait(self._random.uniform(0.2, 1.8) * self.pause):
            self.search(" ".join(self._random.sample(self.words, 2)))

    def read(self) -> None:
        browser = Browser(self.site)
        # A count is as dear as many searches.
        while not self.stop.wait(self._random.uniform(0.2, 1.8) * 10 * self.pause):
            try:
                failure = read_figures(browser, self.stop)
            except OSError as error:
                failure = str(error)
            if failure:
                self.failures += 1
                print(f"failed: {failure}", flush=True)

    def listen(self) -> None:
        while not self.stop.wait(self._random.uniform(0.2, 1.8) * 10 * self.pause):
            query = urllib.parse.urlencode({"q": " ".join(self._random.sample(self.words, 2))})
            try:
                heard = listen(self.answers, query)
            except OSError as error:
                heard = str(error)
            if isinstance(heard, str):
                self.failures += 1
                print(f"failed: {heard}", flush=True)

    def search(self, text: str) -> None:
        query = urllib.parse.urlencode({"q": text, "limit": 5, "through": self._random.choice(THROUGH)})
        self.searches += 1
        try:
            with urllib.request.urlopen(f"{self.site}/api/search?{query}", timeout=30) as response:
                found = json.load(response)["results"]
        except (OSError, ValueError) as error:
            self.failures += 1
            print(f"failed: {text!r}: {error}", flush=True)
            return
        self.learn(" ".join(result["text"][:400] for result in found))

    def learn(self, text: str) -> None:
        self.words += self._random.sample(_WORD.findall(text) or list(FIRST), 1)
        # Bounded, and never stuck in a corner: old words go, the first ones stay.
        if len(self.words) > MOST_WORDS:
            self.words = [*FIRST, *self.words[-MOST_WORDS // 2 :]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("site", help="for example http://127.0.0.1:8000")
    parser.add_argument("--rate", type=float, default=3.0, help="searches a second (default 3, at most 50)")
    parser.add_argument("--answers", default="", help="where answers are streamed, if anywhere")
    given = parser.parse_args()
    visitors = Visitors(given.site, min(max(given.rate, 0.1), 50.0), given.answers)
    stop_on_signals()
    for _ in range(VISITORS):
        threading.Thread(target=visitors.visit, daemon=True).start()
    threading.Thread(target=visitors.read, daemon=True).start()
    if given.answers:
        threading.Thread(target=visitors.listen, daemon=True).start()
    while not visitors.stop.wait(REPORT_EVERY):
        print(f"{visitors.searches} searches, {visitors.failures} failed", flush=True)


if __name__ == "__main__":
    main()
