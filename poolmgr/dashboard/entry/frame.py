"""What stands around the dashboard: the frame of the site's admin, or a plain one where the site has none."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import AdminSite
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import NoReverseMatch, get_script_prefix, resolve, reverse
from django.utils.translation import gettext as _

from poolmgr.lookon.admission import looks_on

#: Seconds between two refreshes that a reader may choose from; the script remembers the choice.
INTERVALS = (2, 5, 10, 20)


def frame(request: HttpRequest) -> dict[str, Any]:
    """The context of ``poolmgr/base.html``: its own base, and what that one needs."""
    site = _admin_site()
    if looks_on(request):
        return {"frame": "poolmgr/plain.html", "links": _ours(request), "user": request.user}
    if site is None:
        return {"frame": "poolmgr/plain.html", "links": _ours(request)}
    return {
        **site.each_context(request),
        "frame": "admin/base_site.html",
        # The figures need the room.
        "is_nav_sidebar_enabled": False,
        "links": _links(request),
    }


def show(request: HttpRequest, template: str, context: dict[str, Any], status: int = 200) -> HttpResponse:
    """The page; for who looks on without the site's context processors and its admin's templates, which may query."""
    text = render_to_string(template, context, None if looks_on(request) else request)
    return HttpResponse(text, status=status)


def refuse(request: HttpRequest, title: str, reason: str, status: int = 400) -> HttpResponse:
    """The page that says why not, with a way back."""
    context = {**frame(request), "title": title, "reason": reason, "back": True}
    return show(request, "poolmgr/denied.html", context, status=status)


def _admin_site() -> AdminSite | None:
    # Not admin.site: that one may have no addresses, while one of the site's own has.
    try:
        address = reverse("admin:index")
    except NoReverseMatch:
        return None
    found = getattr(resolve("/" + address.removeprefix(get_script_prefix())).func, "admin_site", None)
    return found if isinstance(found, AdminSite) else None


def _ours(request: HttpRequest) -> list[tuple[str, str]]:
    """The console's own pages, as far as the reader may go there."""
    found = [(_("Overview"), reverse("poolmgr:dashboard")), (_("History"), reverse("poolmgr:history"))]
    return [*found, (_("Events"), reverse("poolmgr:events"))] if request.user.has_perm("poolmgr.view_event") else found


def _links(request: HttpRequest) -> list[tuple[str, str]]:
    """The same, and ways into the admin, if it shows these models."""
    found = _ours(request)
    for model, label in (("poolprofile", _("Profiles")), ("healthcheck", _("Health checks"))):
        if not request.user.has_perm(f"poolmgr.view_{model}"):
            continue
        try:
            found.append((label, reverse(f"admin:poolmgr_{model}_changelist")))
        except NoReverseMatch:
            continue
    return found
