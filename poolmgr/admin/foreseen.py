"""What a save leads to, told before it on the form's page, and after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib import messages
from django.contrib.admin.options import ModelAdmin
from django.contrib.admin.utils import flatten_fieldsets
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, QueryDict
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from poolmgr.admin.groups import groups_of
from poolmgr.control.editing.consequences import Foreseen
from poolmgr.control.editing.weighing import foresee_delete
from poolmgr.models import PoolProfile


class Foreseeing(ModelAdmin):  # type: ignore[type-arg]  # generic in the stubs alone
    """The half of the profiles' admin that shows the shared form, and answers what saving it would lead to."""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.foresee_view)
        return [
            path("foresee/", view, name="poolmgr_poolprofile_foresee_new"),
            path("<path:object_id>/foresee/", view, name="poolmgr_poolprofile_foresee"),
            *super().get_urls(),
        ]

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: PoolProfile | None = None,
    ) -> HttpResponse:
        name = f"{self.admin_site.name}:poolmgr_poolprofile_foresee"
        context |= {
            "groups": groups_of(context["adminform"], obj),
            "foresee_url": reverse(name, args=[obj.pk]) if obj else reverse(f"{name}_new"),
        }
        return super().render_change_form(request, context, add, change, form_url, obj)

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        profile = self.get_object(request, object_id)
        told: dict[str, Any] = {}
        if profile is not None and self.has_delete_permission(request, profile):
            told = {**weighed(request, [profile], bool(request.POST)), "media": self.media}
        return super().delete_view(request, object_id, {**told, **(extra_context or {})})

    def foresee_view(self, request: HttpRequest, object_id: str | None = None) -> HttpResponse:
        """What saving the form that is sent would lead to, for a page that shows the form."""
        profile = None if object_id is None else self.get_object(request, object_id)
        if object_id is not None and profile is None:
            raise Http404
        allowed = self.has_change_permission(request, profile) if profile else self.has_add_permission(request)
        if not allowed:
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        fields = flatten_fieldsets(self.get_fieldsets(request, profile))
        form_class = self.get_form(request, profile, change=profile is not None, fields=fields)
        form = form_class(request.POST, instance=profile)
        form.is_valid()
        return TemplateResponse(request, "poolmgr/settings/foreseen.html", {"form": form})


def weighed(request: HttpRequest, deleted: Sequence[PoolProfile], sent: bool) -> dict[str, Any]:
    """What deleting them would lead to, for the page that asks.

    ``sent`` says that the page's form was; it is unsent again where what has to be confirmed is not.
    """
    foreseen = foresee_delete(deleted)
    unconfirmed = sent and bool(foreseen.unconfirmed(request.POST.get("confirmed", "")))
    if unconfirmed:
        # At anything that is sent Django deletes; without, it shows the page.
        request.POST = QueryDict()
    return {"foreseen": foreseen, "unconfirmed": unconfirmed}


def tell(request: HttpRequest, foreseen: Foreseen | None) -> None:
    """What was confirmed as warnings, and the rest in one message."""
    if foreseen is None:
        return
    for each in foreseen.asked:
        messages.warning(request, each.sentence)
    if rest := [each.sentence for each in foreseen.consequences if each not in foreseen.asked]:
        messages.info(request, " ".join(rest))
