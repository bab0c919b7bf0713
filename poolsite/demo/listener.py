"""A visitor who reads an answer as it is streamed."""

import http.client
import re
import threading
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Heard:
    """Of one answer: in how many parts it came, and what its page says of the connection."""

    parts: int
    streamed_from: str
    held_ms: float
    took_ms: float


def listen(site: str, query: str = "q=temporary+directory") -> Heard | str:
    """What was heard, or what went wrong. Raises ``OSError``."""
    connection = http.client.HTTPConnection(str(urlsplit(site).netloc), timeout=60)
    try:
        connection.request("GET", f"/answer/?{query}")
        response = connection.getresponse()
        parts: list[bytes] = []
        while part := response.read1():
            parts.append(part)
    except http.client.HTTPException as error:
        return f"/answer/?{query} broke off: {error!r}"
    finally:
        connection.close()
    text = b"".join(parts).decode()
    if response.status != 200 or "</html>" not in text or (shown := _USE.search(text)) is None:
        return f"/answer/?{query} answered {response.status}: {text[-600:]}"
    return Heard(len(parts), shown[1], float(shown[2]), float(shown[3]))


_USE = re.compile(
    r"<dt>Streamed from</dt><dd>([^<]*)</dd>.*<dt>Connection held</dt><dd>([\d.]+)<.*<dt>Of</dt><dd>([\d.]+)<",
    re.DOTALL,
)


class Listener(threading.Thread):
    def __init__(self, site: str) -> None:
        super().__init__(daemon=True)
        self.site = site
        self.heard: Heard | None = None
        self.failure = ""

    def run(self) -> None:
        try:
            found = listen(self.site)
        except OSError as error:
            found = str(error)
        if isinstance(found, Heard):
            self.heard = found
        else:
            self.failure = found
