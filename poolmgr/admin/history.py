"""The revisions of a profile: who changed what and when, and the way back to any of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from poolmgr.admin.cells import edited, labelled, moment
from poolmgr.admin.foreseen import tell
from poolmgr.admin.live import DASH
from poolmgr.admin.readonly import ReadOnlyAdmin
from poolmgr.control.access import control_alias
from poolmgr.control.editing import profiles
from poolmgr.control.editing.consequences import Foreseen
from poolmgr.control.editing.weighing import foresee_save
from poolmgr.exceptions import InvalidSpec
from poolmgr.models import PoolProfile, ProfileRevision
from poolmgr.profileform.saying import told
from poolmgr.targets.known import likely_kind_of


@dataclass(frozen=True, slots=True)
class Change:
    """One setting before and after."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Line:
    """One revision as the history shows it."""

    pk: int
    number: int
    author: str
    at: SafeString
    reason: str
    changes: tuple[Change, ...]
    created: bool
    current: bool


def history_page(profile: PoolProfile, may_restore: bool) -> dict[str, Any]:
    revisions = ProfileRevision.objects.using(control_alias()).filter(target=profile.target, role=profile.role)
    return {
        "title": _("History of %(profile)s") % {"profile": profile},
        "profile": profile,
        "lines": [_line(each, profile.revision) for each in revisions.order_by("-number")[:200]],
        "may_restore": may_restore,
    }


def _line(revision: ProfileRevision, current: int) -> Line:
    return Line(
        pk=revision.pk,
        number=revision.number,
        author=revision.author,
        at=moment(revision.created_at),
        reason=revision.reason,
        changes=changes_of(revision),
        created=_created(revision),
        current=revision.number == current,
    )


def changes_of(revision: ProfileRevision) -> tuple[Change, ...]:
    return tuple(
        Change(name, _text(before), _text(after)) for name, (before, after) in sorted(revision.differences.items())
    )


def _created(revision: ProfileRevision) -> bool:
    return all(before is None for before, _after in revision.differences.values())


def _text(value: Any) -> str:
    if value is None or value == "":
        return DASH
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


class _RoleFilter(admin.SimpleListFilter):
    """By a role's name: the plain filter shows the empty one, any role, as an empty link."""

    title = gettext_lazy("role")
    parameter_name = "role"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(str(role), str(name)) for role, name in PoolProfile.Role.choices]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        role = self.value()
        return queryset if role is None else queryset.filter(role=role)


@admin.register(ProfileRevision)
class RevisionAdmin(ReadOnlyAdmin):
    """Every revision there ever was, also of deleted profiles; each can be restored."""

    list_display = ("when", "profile_name", "edit", "changes_shown", "reason")
    list_filter = ("target", _RoleFilter)
    search_fields = ("target", "author", "reason")
    date_hierarchy = "created_at"
    fields = ("target", "role_name", "number", "author", "when", "reason", "changes_shown", "values_shown")
    readonly_fields = fields
    empty_value_display = DASH
    change_form_template = "admin/poolmgr/profilerevision/change_form.html"

    @admin.display(description=gettext_lazy("at"), ordering="created_at")
    def when(self, revision: ProfileRevision) -> SafeString:
        return moment(revision.created_at)

    @admin.display(description=gettext_lazy("role"))
    def role_name(self, revision: ProfileRevision) -> str:
        return str(dict(PoolProfile.Role.choices).get(revision.role, revision.role))

    @admin.display(description=gettext_lazy("profile"), ordering="target")
    def profile_name(self, revision: ProfileRevision) -> str:
        return f"{revision.target} ({self.role_name(revision)})"

    @admin.display(description=gettext_lazy("revision"), ordering="number")
    def edit(self, revision: ProfileRevision) -> SafeString:
        return labelled(_("revision"), edited(revision.number, revision.author))

    @admin.display(description=gettext_lazy("changes"))
    def changes_shown(self, revision: ProfileRevision) -> SafeString:
        if _created(revision):
            return format_html("{}", _("created"))
        rows = ((each.name, each.before, each.after) for each in changes_of(revision))
        return format_html_join("", '<span class="pm-change">{}: {} → <b>{}</b></span>', rows) or format_html(DASH)

    @admin.display(description=gettext_lazy("settings"))
    def values_shown(self, revision: ProfileRevision) -> SafeString:
        rows = ((name, _text(value)) for name, value in _settings(revision))
        return format_html('<dl class="pm-pairs">{}</dl>', format_html_join("", "<dt>{}</dt><dd>{}</dd>", rows))

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.restore_view)
        return [path("<int:pk>/restore/", view, name="poolmgr_profilerevision_restore"), *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        revision = self.get_object(request, object_id)
        extra = {"may_restore": revision and _may_restore(request, revision), **(extra_context or {})}
        return super().change_view(request, object_id, form_url, extra)

    def restore_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Show what would change; change it on POST."""
        revision = self.get_queryset(request).filter(pk=pk).first()
        if revision is None:
            raise Http404(_("There is no such revision."))
        if not _may_restore(request, revision):
            raise PermissionDenied
        foreseen, refusal = _foreseen(revision)
        confirmed = request.POST.get("confirmed", "")
        if request.method == "POST" and not (foreseen.refused or foreseen.unconfirmed(confirmed)):
            return self._restore(request, revision, foreseen)
        profile = _profile_of(revision)
        context = {
            **self.admin_site.each_context(request),
            "title": _("Restore %(revision)s?") % {"revision": revision},
            "revision": revision,
            "profile": profile,
            "changes": _differences(profile, revision),
            "foreseen": foreseen,
            "unconfirmed": request.method == "POST" and foreseen.unconfirmed(confirmed),
            "refusal": refusal,
            "opts": self.opts,
            "media": self.media,
        }
        return TemplateResponse(request, "admin/poolmgr/profilerevision/restore.html", context)

    def _restore(self, request: HttpRequest, revision: ProfileRevision, foreseen: Foreseen) -> HttpResponse:
        try:
            profile = profiles.restore(revision, request.user.get_username())
        except (InvalidSpec, ValidationError) as refusal:
            self.message_user(request, _not_restored(refusal), messages.ERROR)
            return HttpResponseRedirect(reverse(f"{self.admin_site.name}:poolmgr_profilerevision_changelist"))
        said = _("Restored: %(profile)s has the settings of revision %(old)s again, as revision %(new)s.")
        self.message_user(
            request, said % {"profile": profile, "old": revision.number, "new": profile.revision}, messages.SUCCESS
        )
        tell(request, foreseen)
        return HttpResponseRedirect(reverse(f"{self.admin_site.name}:poolmgr_poolprofile_history", args=[profile.pk]))


def _foreseen(revision: ProfileRevision) -> tuple[Foreseen, str]:
    """What a restore would lead to, and why it can't be, where that is so."""
    try:
        return foresee_save(profiles.restored(revision)), ""
    except (InvalidSpec, ValidationError) as refusal:
        return Foreseen(), _not_restored(refusal)


def _not_restored(refusal: InvalidSpec | ValidationError) -> str:
    return _("Not restored: %(reason)s") % {"reason": told(refusal)}


def _may_restore(request: HttpRequest, revision: ProfileRevision) -> bool:
    # Restoring is an edit, and of a deleted profile an addition.
    right = "change" if _profile_of(revision) else "add"
    return request.user.has_perm(f"poolmgr.{right}_poolprofile")


def _profile_of(revision: ProfileRevision) -> PoolProfile | None:
    found = PoolProfile.objects.using(control_alias()).filter(target=revision.target, role=revision.role)
    return found.first()


def _settings(revision: ProfileRevision) -> list[tuple[str, Any]]:
    """In the order of the form: the database keeps none."""
    kind = likely_kind_of(revision.target)
    shown = ("enabled", *kind.honours, *kind.refusals(revision.settings))
    return [(name, revision.settings[name]) for name in shown if name in revision.settings]


def _differences(profile: PoolProfile | None, revision: ProfileRevision) -> tuple[Change, ...]:
    now = {} if profile is None else {name: getattr(profile, name, None) for name in revision.settings}
    return tuple(
        Change(name, _text(now.get(name)), _text(value))
        for name, value in _settings(revision)
        if now.get(name) != value
    )
