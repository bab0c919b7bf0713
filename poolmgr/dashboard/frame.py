"""What stands around the dashboard: the frame of the site's admin, or a plain one where the site has none."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import AdminSite
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import NoReverseMatch, get_script_prefix, resolve, reverse
from django.utils.translation import gettext as _

from poolmgr.lookon.admission import looks_on


def frame(request: HttpRequest) -> dict[str, Any]:
    """The context of ``poolmgr/base.html``: its own base, and what that one needs."""
    site = _admin_site()
    if looks_on(request):
        return {"frame": "poolmgr/plain.html", "links": [], "user": request.user}
    if site is None:
        return {"frame": "poolmgr/plain.html", "links": []}
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


def _admin_site() -> AdminSite | None:
    # Not admin.site: that one may have no addresses, while one of the site's own has.
    try:
        address = reverse("admin:index")
    except NoReverseMatch:
        return None
    found = getattr(resolve("/" + address.removeprefix(get_script_prefix())).func, "admin_site", None)
    return found if isinstance(found, AdminSite) else None


def _links(request: HttpRequest) -> list[tuple[str, str]]:
    """Ways from here, as far as the reader may go there: to what happened, and into the admin, if it shows these models."""
    found = [(_("Events"), reverse("poolmgr:events"))] if request.user.has_perm("poolmgr.view_event") else []
    for model, label in (("poolprofile", _("Profiles")), ("healthcheck", _("Health checks"))):
        if not request.user.has_perm(f"poolmgr.view_{model}"):
            continue
        try:
            found.append((label, reverse(f"admin:poolmgr_{model}_changelist")))
        except NoReverseMatch:
            continue
    return found
