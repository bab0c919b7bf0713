"""The admin of the profiles: edit, act, and see what the fleet makes of it."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import Field, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from poolmgr.admin import actions, columns
from poolmgr.admin.cells import edited, moment_text
from poolmgr.admin.foreseen import Foreseeing, tell
from poolmgr.admin.history import history_page
from poolmgr.admin.live import live_states, state_icon
from poolmgr.control.access import control_alias
from poolmgr.control.editing import profiles
from poolmgr.control.reporting.fleet import read_fleet
from poolmgr.control.reporting.spoken import spoken
from poolmgr.exceptions import EditedMeanwhile
from poolmgr.models import PoolProfile
from poolmgr.pools.kinds import Kind
from poolmgr.profileform.form import ProfileForm, target_field
from poolmgr.profileform.layout import EDIT, SETTINGS, WHOSE, Section
from poolmgr.targets.known import kind_of, kinds_by_target, likely_kind_of


def _fieldset(section: Section) -> Any:
    return section.title, {"fields": section.fields, "classes": ("collapse",) if section.folded else ()}


@admin.register(PoolProfile)
class ProfileAdmin(Foreseeing):
    """Saves through ``control.editing.profiles``, so that each save is a revision and the fleet hears of it."""

    form = ProfileForm
    list_display = (
        "target",
        columns.role_name,
        columns.in_force,
        columns.fleet_figures,
        columns.mode,
        columns.sizes,
        columns.edit,
    )
    list_display_links = ("target", columns.role_name)
    search_fields = ("target",)
    actions = (actions.recycle, actions.pause, actions.resume, actions.duplicate, actions.delete_selected)
    readonly_fields = ("history_line",)
    fieldsets = (*map(_fieldset, (WHOSE, *SETTINGS)), (EDIT.title, {"fields": ("history_line",)}))

    class Media:
        css = {"all": ("poolmgr/pools.css", "poolmgr/admin.css", "poolmgr/settings.css")}
        js = ("poolmgr/settings.js",)

    # -- reading -------------------------------------------------------------------------------------------------------

    def get_queryset(self, request: HttpRequest) -> QuerySet[PoolProfile]:
        return super().get_queryset(request).using(control_alias())

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return columns.LiveList

    @admin.display(description=gettext_lazy("revision"))
    def history_line(self, profile: PoolProfile) -> str:
        if not profile.pk:
            return _("The first save makes revision 1.")
        line = _("Revision %(edit)s, %(when)s") % {
            "edit": edited(profile.revision, profile.updated_by),
            "when": moment_text(profile.updated_at),
        }
        address = reverse(f"{self.admin_site.name}:poolmgr_poolprofile_history", args=[profile.pk])
        return format_html('{} · <a href="{}">{}</a>', line, address, _("All revisions, to compare and restore"))

    # -- editing -------------------------------------------------------------------------------------------------------

    def get_readonly_fields(self, request: HttpRequest, obj: PoolProfile | None = None) -> tuple[str, ...]:
        # A profile's history belongs to its target and role: for another one there is “duplicate for a role”.
        fixed = ("target", "role") if obj else ()
        return (*fixed, *self.readonly_fields)

    def get_fieldsets(self, request: HttpRequest, obj: PoolProfile | None = None) -> Any:
        refused = _kind(request, obj).refuses
        offered = tuple(
            (name, {**each, "fields": tuple(field for field in each["fields"] if field not in refused)})
            for name, each in self.fieldsets
            if not {*each["fields"]} <= {*refused}
        )
        if obj is not None and not self.has_change_permission(request, obj):
            return offered
        # What is asked of whoever edits: these are of the form and not of the profile.
        *settings, (history, _fields) = offered
        asked = (history, {"fields": (*EDIT.fields, "history_line")})
        return (*settings, asked, *([(None, {"fields": ("seen_revision",)})] if obj else []))

    def get_form(
        self, request: HttpRequest, obj: PoolProfile | None = None, change: bool = False, **kwargs: Any
    ) -> type[forms.ModelForm[PoolProfile]]:
        helps = {name: spoken(text) for name, text in _kind(request, obj).helps.items()}
        return super().get_form(request, obj, change=change, help_texts=helps, **kwargs)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        # What rules already, so that whoever adds a profile changes nothing that they do not mean to.
        target = request.GET.get("target", "")
        begins = profiles.in_force(target) if target in profiles.known_targets() else _kind(request).defaults.to_dict()
        return {**begins, **super().get_changeform_initial_data(request)}

    def formfield_for_dbfield(
        self, db_field: Field[Any, Any], request: HttpRequest, **kwargs: Any
    ) -> forms.Field | None:
        if db_field.name == "target":
            return target_field(str(db_field.help_text))
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    def save_model(self, request: HttpRequest, obj: PoolProfile, form: Any, change: bool) -> None:
        seen = form.cleaned_data.get("seen_revision") if change else None
        profiles.save_profile(obj, request.user.get_username(), reason=form.cleaned_data["note"], seen=seen)
        tell(request, form.foreseen)

    def delete_model(self, request: HttpRequest, obj: PoolProfile) -> None:
        profiles.delete_profile(obj, request.user.get_username())

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[PoolProfile]) -> None:
        for profile in queryset:
            self.delete_model(request, profile)

    # -- pages ---------------------------------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        bootstrap = path(
            "bootstrap/", self.admin_site.admin_view(self.bootstrap_view), name="poolmgr_poolprofile_bootstrap"
        )
        return [bootstrap, *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        extra = {
            "dashboard_url": dashboard_url(),
            "bootstrap": profiles.bootstrap_profiles() if self.has_add_permission(request) else [],
            **(extra_context or {}),
        }
        return super().changelist_view(request, extra)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except EditedMeanwhile:
            # Nothing is saved. What came between the form's look and the save, the form sees at its second look.
            return super().changeform_view(request, object_id, form_url, extra_context)

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        by_target = kinds_by_target()
        if (
            request.method == "GET"
            and request.GET.get("target") not in by_target
            and len({kind.name for kind in by_target.values()}) > 1
        ):
            return self._choose_target(request, by_target)
        return super().add_view(request, form_url, extra_context)

    def _choose_target(self, request: HttpRequest, by_target: dict[str, Kind]) -> HttpResponse:
        """Each kind has a form of its own: which one depends on the target."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        context = {
            **self.admin_site.each_context(request),
            "title": _("Add pool profile"),
            "opts": self.opts,
            "media": self.media,
            "choices": [
                (target, spoken(kind.label), f"?{urlencode({**request.GET.dict(), 'target': target})}")
                for target, kind in by_target.items()
            ],
        }
        return TemplateResponse(request, "admin/poolmgr/poolprofile/choose_target.html", context)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        profile = self.get_object(request, object_id)
        extra = {"dashboard_url": dashboard_url(), **(extra_context or {})}
        if profile is not None:
            live = live_states(read_fleet(), [profile])[profile.pk]
            refused = likely_kind_of(profile.target).refusals(profile.values())
            extra |= {
                "live": live,
                "live_icon": state_icon(live.state),
                "refused": {name: spoken(why) for name, why in refused.items()},
            }
        return super().change_view(request, object_id, form_url, extra)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        profile = self.get_object(request, object_id)
        if profile is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[attr-defined,no-any-return]
        if not self.has_view_or_change_permission(request, profile):
            raise PermissionDenied
        context = {**self.admin_site.each_context(request), "opts": self.opts, "media": self.media}
        context |= history_page(profile, self.has_change_permission(request, profile))
        return TemplateResponse(request, "admin/poolmgr/poolprofile/history.html", {**context, **(extra_context or {})})

    def bootstrap_view(self, request: HttpRequest) -> HttpResponse:
        """Make rows of the settings that rule without one."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        made = profiles.bootstrap_profiles()
        for profile in made:
            profiles.save_profile(profile, request.user.get_username(), reason=_("created from the bootstrap settings"))
        said = ngettext("%(n)s profile created.", "%(n)s profiles created.", len(made)) % {"n": len(made)}
        self.message_user(request, said, messages.SUCCESS if made else messages.INFO)
        return HttpResponseRedirect(reverse(f"{self.admin_site.name}:poolmgr_poolprofile_changelist"))


def _kind(request: HttpRequest, profile: PoolProfile | None = None) -> Kind:
    """Of the profile, or of the target that a new one is for as far as it is known; else of the first target."""
    if profile is not None:
        return likely_kind_of(profile.target)
    asked = (request.POST.get("target"), request.GET.get("target"), *profiles.known_targets())
    return next(filter(None, (kind_of(target) for target in asked if target)), likely_kind_of(""))


def dashboard_url() -> str:
    """Where the site has put the dashboard, or nothing."""
    try:
        return reverse("poolmgr:dashboard")
    except NoReverseMatch:
        return ""
