"""What a program gets back: a document, or what is wrong with the request, in JSON."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse

from poolmgr.dashboard.entry.access import Manner, lacks
from poolmgr.lookon import entry

#: Seconds after which to try again what the control database has no answer to.
_RETRY = "5"


class Refused(Exception):
    """A request that gets ``status`` and a sentence; ``told`` are more keys of the answer."""

    def __init__(self, error: str, status: int = 400, **told: Any) -> None:
        super().__init__(error)
        self.status = status
        self.told = told


def refusal(status: int, error: str, **told: Any) -> HttpResponse:
    response = JsonResponse({"error": error, **told}, status=status)
    if status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="poolmgr"'
    elif status == 503:
        response.headers["Retry-After"] = _RETRY
    return response


def not_allowed(method: str, allowed: tuple[str, ...]) -> HttpResponse:
    said = "The method %(method)s is not allowed here; there are: %(allowed)s."
    response = refusal(405, said % {"method": method, "allowed": ", ".join(allowed)})
    response.headers["Allow"] = ", ".join(allowed)
    return response


def need(may: bool, permission: str) -> None:
    """Raises ``Refused`` for a reader who may not."""
    if not may:
        raise Refused(lacks(permission), 403, permission=permission)


def _stranger(request: HttpRequest) -> HttpResponse:
    return refusal(401, "Log in, or send POOLMGR['API_TOKEN'] as “Authorization: Bearer …”.")


def _denied(request: HttpRequest, reason: str, permission: str) -> HttpResponse:
    return refusal(403, reason, **({"permission": permission} if permission else {}))


def _failed(request: HttpRequest, reason: str) -> HttpResponse:
    return refusal(503, reason)


IN_JSON = Manner(_stranger, _denied, entry.waiting_in_json, _failed)
