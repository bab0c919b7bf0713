"""Who may look on, decided before anything of the request is asked of the database that is away."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from importlib import import_module
from time import time
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import router
from django.http import HttpRequest, HttpResponseBase

from poolmgr.control.reach import Outage, lost, outage
from poolmgr.lookon import passes, revoking
from poolmgr.lookon.onlooker import Onlooker
from poolmgr.lookon.passes import Pass

#: Where a session keeps the time of its login, from which the end of a pass is counted.
LOGIN_TIME = "_poolmgr_login_time"
#: Seconds after which a pass is given anew, with what its holder may see by then.
_RENEWED = 60
_OUTAGE, _GIVEN, _REFUSED = "_poolmgr_outage", "_poolmgr_pass", "_poolmgr_refused"


def permission_outage() -> Outage | None:
    """Why nobody's permission can be checked now, if so."""
    return next((found for alias in permission_databases() if (found := outage(alias))), None)


def permission_databases() -> tuple[str, ...]:
    """The aliases that sessions and accounts are read from."""
    aliases = [router.db_for_read(get_user_model()), router.db_for_read(Permission)]
    store = import_module(settings.SESSION_ENGINE).SessionStore
    if hasattr(store, "get_model_class"):
        aliases.append(router.db_for_read(store.get_model_class()))
    return tuple(dict.fromkeys(aliases))


def admit(request: HttpRequest, found: Outage) -> bool:
    """Let whoever holds a good pass look on: from here on the request has a user, and no session, who cost no query."""
    session = request.COOKIES.get(settings.SESSION_COOKIE_NAME, "")
    held = passes.read(request)
    if held is None or not passes.fits(held, session) or revoking.is_ended(held):
        return False
    # What Django's middleware makes of it: no session, which nobody reads or saves, and a user that was found already.
    request.COOKIES = {name: text for name, text in request.COOKIES.items() if name != settings.SESSION_COOKIE_NAME}
    user: Any = Onlooker(held)
    request._cached_user = request._acached_user = request.user = user  # type: ignore[attr-defined]
    setattr(request, _OUTAGE, found)
    return True


def admit_after(request: HttpRequest, error: BaseException) -> bool:
    """The same for a request that found out by ``error`` that permission can't be checked."""
    found = next((found for alias in permission_databases() if (found := lost(alias, error))), None)
    return found is not None and admit(request, found)


def looks_on(request: HttpRequest) -> Outage | None:
    """Why this request may only look on, or None for one whose permission is checked as usual."""
    return getattr(request, _OUTAGE, None)


# -- passes given and taken away ---------------------------------------------------------------------------------------


def grant(request: HttpRequest) -> None:
    """Note that the request's user was let in, and what they may see, for ``settle`` to give them a pass."""
    user, now = request.user, int(time())
    if (until := _end_of(request.session, now)) > now:
        views = (f"poolmgr.view_{model._meta.model_name}" for model in apps.get_app_config("poolmgr").get_models())
        sees = tuple(name for name in (*views, "poolmgr.read_statements") if user.has_perm(name))
        setattr(request, _GIVEN, Pass(str(user.pk), user.get_username(), sees, "", now, until))


def refuse(request: HttpRequest) -> None:
    """Note that the request's user may not see the console, or not any more."""
    setattr(request, _REFUSED, True)


def must_settle(request: HttpRequest) -> bool:
    """Whether ``settle`` has anything to do: asked for every request of the site."""
    return hasattr(request, _GIVEN) or (passes.cookie_name() in request.COOKIES and not looks_on(request))


def settle(request: HttpRequest, response: HttpResponseBase) -> None:
    """Give, renew or take away the pass, after all other middleware: only now it is known which session goes on."""
    given: Pass | None = getattr(request, _GIVEN, None)
    session = _session_after(request, response)
    held = passes.read(request)
    if held is not None and (getattr(request, _REFUSED, False) or not passes.fits(held, session)):
        # Logged out, logged in anew, a changed password, a lost permission: copies of the pass end too.
        revoking.end_session(held)
        _forget(response)
        held = None
    if given is not None and session:
        given = replace(given, session=passes.digest(session))
        if held is None or not _as_good(held, given):
            _hand_out(request, response, given)


def remember_login(request: HttpRequest | None, **kwargs: Any) -> None:
    """A session that begins notes when: its end is counted from there, and a pass must not outlive it."""
    if request is not None and hasattr(request, "session"):
        request.session[LOGIN_TIME] = int(time())


def _session_after(request: HttpRequest, response: HttpResponseBase) -> str:
    """The value of the session's cookie that the browser holds after this response."""
    changed = response.cookies.get(settings.SESSION_COOKIE_NAME)
    return str(request.COOKIES.get(settings.SESSION_COOKIE_NAME, "")) if changed is None else changed.value


def _end_of(session: Any, now: int) -> int:
    """When the session ends unless it is used again; 0 for one that doesn't know when it began."""
    saved = now if session.modified or settings.SESSION_SAVE_EVERY_REQUEST else session.get(LOGIN_TIME)
    if not isinstance(saved, int):
        return 0
    modification = datetime.fromtimestamp(saved, UTC if settings.USE_TZ else None)
    return saved + int(session.get_expiry_age(modification=modification))


def _as_good(held: Pass, given: Pass) -> bool:
    """Whether the pass that the browser has says the same, and is not old."""
    same = (held.user, held.sees, held.session) == (given.user, given.sees, given.session)
    return same and given.issued - held.issued < _RENEWED and held.until <= given.until


def _hand_out(request: HttpRequest, response: HttpResponseBase, given: Pass) -> None:
    short = request.session.get_expire_at_browser_close()
    response.set_cookie(
        passes.cookie_name(),
        passes.sign(given),
        max_age=None if short else given.until - given.issued,
        httponly=True,
        secure=settings.SESSION_COOKIE_SECURE,
        samesite=settings.SESSION_COOKIE_SAMESITE,
        path=settings.SESSION_COOKIE_PATH,
        domain=settings.SESSION_COOKIE_DOMAIN,
    )


def _forget(response: HttpResponseBase) -> None:
    response.delete_cookie(
        passes.cookie_name(),
        path=settings.SESSION_COOKIE_PATH,
        domain=settings.SESSION_COOKIE_DOMAIN,
        samesite=settings.SESSION_COOKIE_SAMESITE,
    )
