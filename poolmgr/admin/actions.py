"""Actions on selected profiles: each asks on a page of its own before it acts."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeAlias

from django.contrib import admin, messages
from django.contrib.admin.actions import delete_selected as delete
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import ModelAdmin
from django.db import IntegrityError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from poolmgr.admin.foreseen import weighed
from poolmgr.admin.forms import RoleForm
from poolmgr.control.commanding import commands
from poolmgr.control.editing import profiles
from poolmgr.control.editing.consequences import Consequence, Foreseen
from poolmgr.control.editing.weighing import foresee_save
from poolmgr.control.reporting.fleet import read_fleet
from poolmgr.control.reporting.spoken import spoken
from poolmgr.models import Command, PoolProfile

_Site: TypeAlias = "ModelAdmin[PoolProfile]"
_Profiles = QuerySet[PoolProfile]


@admin.action(description=gettext_lazy("Recycle: replace all connections"), permissions=["change"])
def recycle(site: _Site, request: HttpRequest, selected: _Profiles) -> HttpResponse | None:
    return _order(site, request, selected, Command.Kind.RECYCLE, _("Recycle these pools?"), _("Recycle"))


@admin.action(description=gettext_lazy("Pause: hand out no connections"), permissions=["change"])
def pause(site: _Site, request: HttpRequest, selected: _Profiles) -> HttpResponse | None:
    return _order(site, request, selected, Command.Kind.PAUSE, _("Pause these pools?"), _("Pause"))


@admin.action(description=gettext_lazy("Resume: hand out connections again"), permissions=["change"])
def resume(site: _Site, request: HttpRequest, selected: _Profiles) -> HttpResponse | None:
    return _order(site, request, selected, Command.Kind.RESUME, _("Resume these pools?"), _("Resume"))


@admin.action(description=gettext_lazy("Duplicate for a role"), permissions=["add"])
def duplicate(site: _Site, request: HttpRequest, selected: _Profiles) -> HttpResponse | None:
    form = RoleForm(request.POST if "confirmed" in request.POST else None)
    if not form.is_valid():
        return _ask(site, request, selected, "duplicate", _("Duplicate for a role"), _("Duplicate"), form=form)
    role = form.cleaned_data["role"]
    foreseen = _foreseen(selected, role)
    if foreseen.refused or foreseen.unconfirmed(request.POST.get("confirmed_save", "")):
        more: dict[str, Any] = {"form": form, "foreseen": foreseen, "unconfirmed": True}
        return _ask(site, request, selected, "duplicate", _("Duplicate for a role"), _("Duplicate"), **more)
    for profile in selected:
        try:
            made = profiles.duplicate_for_role(profile, role, request.user.get_username())
        except ValueError as refused:
            site.message_user(
                request,
                _("“%(target)s”: %(why)s") % {"target": profile.target, "why": spoken(refused.args[0])},
                messages.ERROR,
            )
        except IntegrityError:
            said = _("%(target)s has a profile for the role %(role)s already; edit that one.")
            name = dict(PoolProfile.Role.choices)[role]
            site.message_user(request, said % {"target": profile.target, "role": name}, messages.ERROR)
        else:
            site.message_user(request, _("Created %(profile)s.") % {"profile": made}, messages.SUCCESS)
    return None


@admin.action(description=gettext_lazy("Delete selected %(verbose_name_plural)s"), permissions=["delete"])
def delete_selected(site: _Site, request: HttpRequest, selected: _Profiles) -> HttpResponse | None:
    """Django's own, of its name and in its place, on whose page stands what it would lead to."""
    told = weighed(request, list(selected), "post" in request.POST)
    page = delete(site, request, selected)
    if page is not None:
        page.context_data = {**(page.context_data or {}), **told}
    return page


def _foreseen(selected: _Profiles, role: str) -> Foreseen:
    """What the copies would lead to, as far as they can be made."""
    found: list[Consequence] = []
    for profile in selected:
        with suppress(ValueError):
            copy = profiles.duplicated(profile, role)
            if not PoolProfile.objects.using(selected.db).filter(target=copy.target, role=role).exists():
                each = foresee_save(copy)
                found += [replace(one, about=f"{copy.target}:{one.about}") for one in each.consequences]
    return Foreseen.of(found)


def _order(
    site: _Site, request: HttpRequest, selected: _Profiles, kind: str, question: str, button: str
) -> HttpResponse | None:
    """Ask, and once confirmed send the command to each target: two profiles of one target make one command."""
    targets = sorted({profile.target for profile in selected})
    if "confirmed" not in request.POST:
        return _ask(site, request, selected, kind, question, button, scopes=_scopes(targets))
    for target in targets:
        try:
            command = commands.send(kind, target, request.user.get_username())
        except commands.Denied as denied:
            site.message_user(
                request, _("“%(target)s”: %(why)s") % {"target": target, "why": spoken(denied.args[0])}, messages.ERROR
            )
            continue
        said = _(
            "Sent: %(kind)s “%(target)s” in all processes. The dashboard and the list of commands show the progress."
        )
        words = {"kind": command.get_kind_display(), "target": target}
        site.message_user(request, said % words, messages.SUCCESS)
    return None


def _scopes(targets: list[str]) -> list[tuple[str, str]]:
    # A command goes to a target's pools in every process, also in those that follow another role's profile.
    counts = dict.fromkeys(targets, 0)
    for beat in read_fleet().processes:
        for pool in beat.pools:
            if pool.target in counts:
                counts[pool.target] += 1
    return [
        (target, ngettext("all processes: %(n)s now", "all processes: %(n)s now", n) % {"n": n})
        for target, n in counts.items()
    ]


def _ask(
    site: _Site,
    request: HttpRequest,
    selected: _Profiles,
    action: str,
    question: str,
    button: str,
    **more: Any,
) -> HttpResponse:
    context = {
        **site.admin_site.each_context(request),
        "title": question,
        "button": button,
        "danger": action == Command.Kind.PAUSE,
        "action": action,
        "selected": selected,
        "opts": site.opts,
        "media": site.media,
        "checkbox": ACTION_CHECKBOX_NAME,
        **more,
    }
    return TemplateResponse(request, "admin/poolmgr/poolprofile/confirm_action.html", context)
