"""The settings of django-async-backend's tests, on the server that the suite was given, with the ENGINE that was chosen."""

import os
from urllib.parse import unquote, urlsplit

from settings import *  # noqa: F403
from settings import DATABASES

_at = urlsplit(os.environ["PEER_DATABASE"])
for _alias in DATABASES.values():
    _alias |= {"HOST": _at.hostname, "PORT": _at.port, "USER": _at.username, "PASSWORD": unquote(_at.password or "")}
    _alias["NAME"] = _at.path[1:]
    if _engine := os.environ.get("PEER_ENGINE"):
        _alias["ENGINE"] = _engine
