"""The pass: who was let in, what they may see, and until when; checked against the secret key alone."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from hashlib import sha256
from time import time

from django.conf import settings
from django.core import signing
from django.http import HttpRequest
from django.utils.crypto import constant_time_compare

_SALT = "poolmgr.lookon"


@dataclass(frozen=True, slots=True)
class Pass:
    """``user`` is a primary key, ``name`` what people call them, ``sees`` their permissions to view.

    It is good only together with the cookie of the session in which it was given (``session`` is its digest), and no longer
    than that session. Times are in whole seconds since the epoch.
    """

    user: str
    name: str
    sees: tuple[str, ...]
    session: str
    issued: int
    until: int


def cookie_name() -> str:
    """After the session's, so that sites that share a host don't take each other's."""
    return f"{settings.SESSION_COOKIE_NAME}_lookon"


def sign(given: Pass) -> str:
    return signing.dumps(asdict(given), salt=_SALT, compress=True)


def read(request: HttpRequest) -> Pass | None:
    """The pass that the request carries, when it was signed by us and its time is not over.

    ``SECRET_KEY_FALLBACKS`` count as they do for sessions: who leaves an old key out has ended the passes too.
    """
    try:
        found = signing.loads(request.COOKIES.get(cookie_name(), ""), salt=_SALT)
        held = Pass(**{**found, "sees": tuple(found["sees"])})
    except (signing.BadSignature, ValueError, TypeError, KeyError):  # forged, damaged, or another version's
        return None
    return held if held.until > time() else None


def fits(held: Pass, session: str) -> bool:
    """Whether the pass was given in the session that has this cookie."""
    return bool(session) and constant_time_compare(held.session, digest(session))


def digest(session: str) -> str:
    """What a pass knows of a session's cookie: enough to recognise it, too little to use it."""
    return sha256(f"{_SALT}:{session}".encode()).hexdigest()[:32] if session else ""
