"""Django's suite makes the settings of many caches from one: each gets a POOL of its own, as a site gives it."""

from typing import Any

from django.test import override_settings
from suite_runner import Runner

__all__ = ["Runner"]

_init = override_settings.__init__


def _each_its_own(self: Any, **kwargs: Any) -> None:
    for alias, cache in kwargs.get("CACHES", {}).items():
        if "POOL" in cache.get("OPTIONS", {}):
            kwargs["CACHES"][alias] = {**cache, "OPTIONS": {**cache["OPTIONS"], "POOL": {}}}
    _init(self, **kwargs)


override_settings.__init__ = _each_its_own
