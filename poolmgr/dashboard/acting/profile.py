"""The settings of a target: the profile that rules it, or a role of it, in the form that the admin has too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.db import IntegrityError
from django.forms import modelform_factory
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.http import require_http_methods, require_POST

from poolmgr.conf import ROLES
from poolmgr.control.access import control_alias
from poolmgr.control.desired import follow, read_profiles
from poolmgr.control.editing import profiles
from poolmgr.control.reporting.beats import read_beats
from poolmgr.control.reporting.spoken import spoken
from poolmgr.dashboard.addresses import settings_address
from poolmgr.dashboard.entry.access import ADD, CHANGE, VIEW, lacking, staff_only
from poolmgr.dashboard.entry.frame import frame, show
from poolmgr.dashboard.words.present import number
from poolmgr.exceptions import EditedMeanwhile
from poolmgr.lookon.admission import looks_on
from poolmgr.lookon.entry import waiting
from poolmgr.models import PoolProfile
from poolmgr.profileform.form import ProfileForm
from poolmgr.profileform.layout import EDIT, SETTINGS, Section
from poolmgr.profileform.showing import groups_of
from poolmgr.targets.known import likely_kind_of


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the profiles that a target may have: ``rules`` says for whom it does now, or would."""

    role: str
    name: str
    address: str
    chosen: bool
    made: bool
    rules: str


@require_http_methods(["GET", "HEAD", "POST"])
@csrf_protect
@staff_only(VIEW)
def settings(request: HttpRequest, target: str) -> HttpResponse:
    """Whoever may not edit reads what rules."""
    if looks_on(request):
        return waiting(True, _("You may look on, as you could before. The settings are in the database that is away."))
    rows = tuple(row for row in read_profiles() if row.target == target)
    if not rows and target not in profiles.known_targets():
        return _unknown(request, target)
    profile = _chosen(target, rows, request.GET.get("role"))
    missing = _missing(request, profile)
    if request.method == "POST" and missing:
        return lacking(request, missing)
    form: ProfileForm | None = _form(request, profile)
    if form is not None and request.method == "POST" and form.is_valid():
        form = _saved(request, profile, form)
    if form is None:
        return redirect(settings_address(target, profile.role))
    return show(request, "poolmgr/settings.html", _context(request, rows, profile, form, writable=not missing))


@require_POST
@csrf_protect
@staff_only(CHANGE)
def foresee(request: HttpRequest, target: str) -> HttpResponse:
    """What saving the form that is sent would lead to, for the page that shows it."""
    rows = tuple(row for row in read_profiles() if row.target == target)
    if not rows and target not in profiles.known_targets():
        return _unknown(request, target)
    profile = _chosen(target, rows, request.GET.get("role"))
    if missing := _missing(request, profile):
        return lacking(request, missing)
    form = _form(request, profile)
    form.is_valid()
    return show(request, "poolmgr/settings/foreseen.html", {"form": form})


def _missing(request: HttpRequest, profile: PoolProfile) -> str:
    """The permission that the reader lacks to save it, "" where none."""
    needed = (CHANGE, ADD) if profile._state.adding else (CHANGE,)
    return next((name for name in needed if not request.user.has_perm(name)), "")


def _unknown(request: HttpRequest, target: str) -> HttpResponse:
    reason = _("There is no target “%(target)s”.") % {"target": target}
    context = {**frame(request), "title": _("No such target"), "reason": reason, "back": True}
    return show(request, "poolmgr/denied.html", context, status=404)


def _chosen(target: str, rows: Sequence[PoolProfile], role: str | None) -> PoolProfile:
    """The row for ``role``, or a new one, which begins with what rules; without a role the only one that there is."""
    if role not in PoolProfile.Role.values or likely_kind_of(target).elsewhere:
        role = rows[0].role if len(rows) == 1 else ""
    found = next((row for row in rows if row.role == role), None)
    if found is not None:
        return found
    made = PoolProfile(target=target, role=role, **profiles.in_force(target))
    made._state.db = control_alias()
    return made


def _form(request: HttpRequest, profile: PoolProfile) -> ProfileForm:
    kind = likely_kind_of(profile.target)
    made = modelform_factory(
        PoolProfile,
        form=ProfileForm,
        fields=("enabled", *kind.honours),
        help_texts={name: spoken(text) for name, text in kind.helps.items()},
    )
    form = made(request.POST if request.method == "POST" else None, instance=profile)
    assert isinstance(form, ProfileForm)
    return form


def _saved(request: HttpRequest, profile: PoolProfile, form: ProfileForm) -> ProfileForm | None:
    """Save it; the form that says why not, where somebody was faster."""
    adding = profile._state.adding
    seen = None if adding else form.cleaned_data.get("seen_revision")
    try:
        revision = profiles.save_profile(profile, request.user.get_username(), form.cleaned_data["note"], seen)
    except EditedMeanwhile:
        fresh = PoolProfile.objects.using(control_alias()).filter(pk=profile.pk).first()
        if fresh is None:
            form.add_error(None, _("Somebody has deleted this profile meanwhile."))
            return form
        # What came between the form's look and the save, the form sees at its second look.
        again = _form(request, fresh)
        again.is_valid()
        return again
    except IntegrityError:
        profile.pk, profile._state.adding = None, True
        form.add_error(None, _("There is already a profile for this target and role; open this page again to edit it."))
        return form
    _tell(request, profile, form, changed=revision is not None)
    return None


def _tell(request: HttpRequest, profile: PoolProfile, form: ProfileForm, changed: bool) -> None:
    if not changed:
        messages.info(request, _("Nothing was changed: the profile has these settings already."))
        return
    said = _("Saved: %(profile)s, revision %(revision)s.") % {"profile": profile, "revision": profile.revision}
    foreseen = form.foreseen.consequences if form.foreseen else ()
    messages.success(request, " ".join((said, *(each.sentence for each in foreseen))))


def _context(
    request: HttpRequest, rows: Sequence[PoolProfile], profile: PoolProfile, form: ProfileForm, writable: bool
) -> dict[str, Any]:
    sections = (*SETTINGS, Section(EDIT.title, ("enabled", *EDIT.fields) if writable else ("enabled",)))
    if not writable:
        for field in form.fields.values():
            field.disabled = True
    return {
        **frame(request),
        "title": _("Settings of %(target)s") % {"target": profile.target},
        "profile": profile,
        "adding": profile._state.adding,
        "writable": writable,
        "form": form,
        "groups": groups_of(form, sections),
        "choices": () if likely_kind_of(profile.target).elsewhere else _choices(rows, profile),
        "foresee_url": f"{reverse('poolmgr:settings_foresee', args=[profile.target])}?{urlencode({'role': profile.role})}",
        "history_url": _history(profile),
    }


def _choices(rows: Sequence[PoolProfile], profile: PoolProfile) -> tuple[Choice, ...]:
    counts = dict.fromkeys(ROLES, 0)
    for beat in read_beats(details=False).processes:
        if beat.role in counts:
            counts[beat.role] += sum(pool.target == profile.target for pool in beat.pools)
    made = {row.role for row in rows}
    followed = {role: row.role for role in ROLES if (row := follow(tuple(rows), role).get(profile.target))}
    return tuple(
        Choice(
            str(role),
            str(name),
            settings_address(profile.target, str(role)),
            role == profile.role,
            role in made,
            _ruled([each for each in ROLES if followed.get(each) == role], counts),
        )
        for role, name in PoolProfile.Role.choices
    )


def _ruled(roles: Sequence[str], counts: Mapping[str, int]) -> str:
    """Whom a profile rules: roles with their processes, or where none lives the roles."""
    return ", ".join(f"{role} {number(counts[role])}" for role in roles if counts[role]) or ", ".join(roles)


def _history(profile: PoolProfile) -> str:
    """All revisions, in the admin; "" without one."""
    try:
        return "" if profile._state.adding else reverse("admin:poolmgr_poolprofile_history", args=[profile.pk])
    except NoReverseMatch:
        return ""
