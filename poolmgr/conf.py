"""The ``POOLMGR`` setting: typed, with defaults, validated at first use and re-read when it changes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.signals import setting_changed

from poolmgr.exceptions import ConfigurationError
from poolmgr.secrets import HIDDEN, Secret, hide, is_secret, shown

ROLES = ("web", "worker", "command")
#: Management commands that serve requests, and those that work off tasks: what they run is the site's.
WEB_COMMANDS = frozenset({"runserver", "runserver_plus", "testserver"})
WORKER_COMMANDS = frozenset({"worker", "beat", "multi"})
SERVING_COMMANDS = WEB_COMMANDS | WORKER_COMMANDS


@dataclass(frozen=True, slots=True)
class Declared:
    """A target that ``TARGETS`` names: its ``KIND``, ``URL`` and ``POOL``, and in ``rest`` the keys that only its kind knows.

    What of these a kind allows is its own affair: ``pools/declaring.py`` asks it.
    """

    target: str
    kind: str
    url: str = ""
    pool: Mapping[str, Any] = field(default_factory=dict)
    rest: Mapping[str, Any] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """The setting that declares it, as messages name it."""
        return f"POOLMGR['TARGETS'][{self.target!r}]"


@dataclass(frozen=True, slots=True)
class Conf:
    """All keys of ``POOLMGR``. Intervals are in seconds.

    ``REDIS_URL`` None means that heartbeats and changes go through the database; ``ROLE`` None means that it is found
    out from the command line; ``METRICS_TOKEN`` None means that only staff may read the metrics page, and ``API_TOKEN``
    None the same of the API; ``CONSOLE_PATHS`` is what ``poolmgr.console`` serves beside admin, dashboard and login.
    """

    REDIS_URL: str | None = None
    NAMESPACE: str = "poolmgr"
    CONTROL_DATABASE: str = "default"
    ROLE: str | None = None
    AGENT: bool = True
    METRICS_TOKEN: str | None = None
    API_TOKEN: str | None = None
    OPENTELEMETRY: bool = False
    CONSOLE_PATHS: tuple[str, ...] = ()
    TARGETS: Mapping[str, Declared] = field(default_factory=dict)
    POLL_INTERVAL: float = 5.0
    HEARTBEAT_INTERVAL: float = 2.0
    PROCESS_TTL: float = 20.0
    COMMAND_TTL: float = 60.0
    SAMPLE_INTERVAL: float = 10.0
    SAMPLE_RETENTION: float = 30 * 86_400.0
    EVENT_RETENTION: float = 90 * 86_400.0


def _seconds(least: float, most: float) -> tuple[Callable[[Any], bool], str]:
    def fits(value: Any) -> bool:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value <= most

    return fits, f"a number of seconds from {least:g} to {most:g}"


def is_redis_url(value: Any) -> bool:
    """Whether redis-py can read it as a URL."""
    if not isinstance(value, str) or not value.startswith(("redis://", "rediss://", "unix://")):
        return False
    try:
        # The port is looked at only when it is asked for.
        return urlsplit(value).port != 0
    except ValueError:
        return False


def _is_redis_url_or_none(value: Any) -> bool:
    return value is None or is_redis_url(value)


#: What names a target in settings, labels and addresses of pages; a colon is for the kinds that name their own.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def _told(value: Any) -> str:
    return HIDDEN if is_secret(text := repr(value)) else text


def _wrong_target(name: Any, given: Any) -> str:
    """What is wrong with one entry of TARGETS, whatever its kind, or an empty string. It never repeats a URL."""
    if isinstance(name, str) and name.startswith("cache:"):
        return f"POOLMGR['TARGETS'] has the name {_told(name)}, but cache: begins the names of caches; choose another"
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return (
            f"POOLMGR['TARGETS'] has the name {_told(name)}, but a name must be of letters, digits, dots, dashes and"
            " underscores, 100 at most"
        )
    if name in settings.DATABASES:
        return f"POOLMGR['TARGETS'] has the name {name!r}, which is a database's in DATABASES; choose another"
    where = f"POOLMGR['TARGETS'][{name!r}]"
    if not isinstance(given, Mapping):
        return f"{where} is {HIDDEN}, but must be a dict with a KIND"
    if odd := [key for key in given if not isinstance(key, str)]:
        return f"{where} has the unknown key {shown(odd[0])}; allowed are words such as KIND, URL and POOL"
    for key, (fits, allowed) in _OF_A_TARGET.items():
        if not fits(given.get(key)):
            told = "missing" if key not in given else HIDDEN if key == "URL" else _told(given[key])
            return f"{where}[{key!r}] is {told}, but must be {allowed}"
    return ""


_OF_A_TARGET: dict[str, tuple[Callable[[Any], bool], str]] = {
    "KIND": (lambda v: isinstance(v, str) and v != "", "the name of a kind, such as 'redis'"),
    "URL": (lambda v: v is None or (isinstance(v, str) and v != ""), "a URL"),
    "POOL": (lambda v: v is None or isinstance(v, Mapping), "a dict of a profile's settings, {} for the defaults"),
}


def _declared(target: str, given: Mapping[str, Any]) -> Declared:
    rest = {key: value for key, value in given.items() if key not in _OF_A_TARGET}
    hide(rest)
    return Declared(target, given["KIND"], Secret(given.get("URL") or ""), dict(given.get("POOL") or {}), rest)


#: Keys whose values no message may repeat, and of these the strings.
_UNSHOWN = frozenset({"REDIS_URL", "METRICS_TOKEN", "API_TOKEN", "TARGETS"})
_SECRET = _UNSHOWN - {"TARGETS"}
_YEAR = 365 * 86_400.0
_TOKEN = (lambda v: v is None or (isinstance(v, str) and len(v) >= 16), "None or a secret of 16 characters or more")
_ALLOWED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "REDIS_URL": (_is_redis_url_or_none, "None or a URL such as redis://host:6379/0, rediss://host or unix:///path"),
    "NAMESPACE": (lambda v: isinstance(v, str) and v.isidentifier(), "a name of letters, digits and underscores"),
    "CONTROL_DATABASE": (lambda v: isinstance(v, str) and v in settings.DATABASES, "an alias of settings.DATABASES"),
    "ROLE": (lambda v: v is None or v in ROLES, f"None or one of {', '.join(ROLES)}"),
    "AGENT": (lambda v: isinstance(v, bool), "True or False"),
    "METRICS_TOKEN": _TOKEN,
    "API_TOKEN": _TOKEN,
    "OPENTELEMETRY": (lambda v: isinstance(v, bool), "True or False"),
    "CONSOLE_PATHS": (
        lambda v: isinstance(v, (list, tuple)) and all(isinstance(each, str) and each.startswith("/") for each in v),
        "a list of paths that begin with /",
    ),
    "TARGETS": (lambda v: isinstance(v, Mapping), "a dict of declared targets by their names"),
    "POLL_INTERVAL": _seconds(0.1, 300),
    "HEARTBEAT_INTERVAL": _seconds(0.1, 60),
    "PROCESS_TTL": _seconds(1, 600),
    "COMMAND_TTL": _seconds(1, 3600),
    "SAMPLE_INTERVAL": _seconds(1, 60),
    "SAMPLE_RETENTION": _seconds(60, 30 * 86_400.0),
    "EVENT_RETENTION": _seconds(60, _YEAR),
}


@cache
def conf() -> Conf:
    """The validated setting.

    Raises ``ConfigurationError`` that names the key, its value and what is allowed.
    """
    found = _read()
    if isinstance(found, str):
        # Here and not where the settings are looked through: reporters show the locals of each frame.
        raise ConfigurationError(found)
    return found


def _read() -> Conf | str:
    """The setting, or what is wrong with it."""
    given = getattr(settings, "POOLMGR", None)
    if given is None:
        given = {}
    if not isinstance(given, dict):
        return f"POOLMGR is {shown(given)}, but must be a dict"
    names = [each.name for each in fields(Conf)]
    for key, value in given.items():
        if key not in names:
            return f"POOLMGR has the unknown key {shown(key)}; allowed are {', '.join(names)}"
        fits, allowed = _ALLOWED[key]
        if not fits(value):
            told = HIDDEN if key in _UNSHOWN else _told(value)
            return f"POOLMGR[{key!r}] is {told}, but must be {allowed}"
    targets = given.get("TARGETS", {})
    for name, each in targets.items():
        if wrong := _wrong_target(name, each):
            return wrong
    secrets = {key: Secret(given[key]) for key in _SECRET if given.get(key)}
    made = Conf(
        **{
            **given,
            **secrets,
            "CONSOLE_PATHS": tuple(given.get("CONSOLE_PATHS", ())),
            "TARGETS": {name: _declared(name, each) for name, each in targets.items()},
        }
    )
    if made.PROCESS_TTL <= 2 * made.HEARTBEAT_INTERVAL:
        return (
            f"POOLMGR['PROCESS_TTL'] is {made.PROCESS_TTL:g}, but must be more than twice HEARTBEAT_INTERVAL"
            f" ({made.HEARTBEAT_INTERVAL:g}), or live processes would seem dead"
        )
    return made


def hide_setting() -> None:
    """Have the setting's secrets show themselves to nobody, such as on Django's DEBUG page, which knows no ``REDIS_URL``."""
    given = getattr(settings, "POOLMGR", None)
    if isinstance(given, str):  # which conf() refuses, but the page shows
        settings.POOLMGR = Secret(given)
    hide(given)
    targets = given.get("TARGETS") if isinstance(given, dict) else None
    for each in targets.values() if isinstance(targets, dict) else ():
        if isinstance(each, dict) and isinstance(url := each.get("URL"), str):
            each["URL"] = Secret(url)


def _forget(*, setting: str, **kwargs: Any) -> None:
    if setting in {"POOLMGR", "DATABASES"}:
        conf.cache_clear()
        hide_setting()


setting_changed.connect(_forget, dispatch_uid="poolmgr.conf")
