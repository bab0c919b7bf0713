"""A visitor with cookies: just enough of a browser to fill in the admin's forms."""

import http.cookiejar
import json
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any


@dataclass(frozen=True, slots=True)
class Page:
    url: str
    status: int
    text: str

    def json(self) -> Any:
        return json.loads(self.text)

    def form(self, submit: str = "") -> dict[str, str]:
        """The values of the form's fields as a browser would send them; `submit` names the button pressed."""
        reader = _FormReader()
        reader.feed(self.text)
        fields = dict(reader.fields)
        if submit:
            fields[submit] = "1"
        return fields


class Browser:
    """Follows redirects and keeps cookies, as people's do."""

    def __init__(self, site: str, cookies: dict[str, str] | None = None, timeout: float = 30.0) -> None:
        self.site = site
        self.timeout = timeout
        self._extra = "; ".join(f"{name}={value}" for name, value in (cookies or {}).items())
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))

    def get(self, path: str, headers: dict[str, str] | None = None) -> Page:
        return self._open(urllib.request.Request(self.site + path, headers=headers or {}))

    def post(self, path: str, fields: dict[str, str]) -> Page:
        data = urllib.parse.urlencode(fields).encode()
        headers = {"Referer": self.site + path}
        return self._open(urllib.request.Request(self.site + path, data=data, headers=headers))

    def _open(self, request: urllib.request.Request) -> Page:
        if self._extra:
            request.add_header("Cookie", self._extra)
        try:
            with self._opener.open(request, timeout=self.timeout) as response:
                return Page(response.url, response.status, response.read().decode())
        except urllib.error.HTTPError as error:
            return Page(error.url or request.full_url, error.code, error.read().decode(errors="replace"))


class _FormReader(HTMLParser):
    """Collects every named field that a browser would send when nothing is touched."""

    def __init__(self) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self._select = ""
        self._textarea = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        name = given.get("name", "")
        if tag == "input" and name:
            kind = given.get("type", "text")
            if kind in ("checkbox", "radio"):
                if "checked" in given:
                    self.fields[name] = given.get("value", "on")
            elif kind not in ("submit", "button", "image", "file"):
                self.fields[name] = given.get("value", "")
        elif tag == "select":
            self._select = name
            if "multiple" not in given:
                self.fields.setdefault(name, "")
        elif tag == "option" and self._select and "selected" in given:
            self.fields[self._select] = given.get("value", "")
        elif tag == "textarea":
            self._textarea = name
            self.fields[name] = ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "select":
            self._select = ""
        elif tag == "textarea":
            self._textarea = ""

    def handle_data(self, data: str) -> None:
        if self._textarea:
            self.fields[self._textarea] += data.removeprefix("\n")
