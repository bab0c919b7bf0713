"""What happened, to read: commands, episodes, events and health checks. Nobody edits the past."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from django.contrib import admin
from django.contrib.admin.options import ModelAdmin
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.formats import number_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from poolmgr.admin.cells import labelled, moment
from poolmgr.admin.live import DASH, state_icon
from poolmgr.admin.troubles import TroubleFilter, trouble_called
from poolmgr.control.access import control_alias
from poolmgr.control.commanding import commands
from poolmgr.control.reporting.spoken import spoken
from poolmgr.models import Acknowledgement, Command, Episode, Event, HealthCheck


class ReadOnlyAdmin(ModelAdmin):  # type: ignore[type-arg]  # generic in the stubs alone
    """For whoever may view; nobody adds, changes or deletes."""

    change_form_template = "admin/poolmgr/readonly_change_form.html"

    class Media:
        css = {"all": ("poolmgr/pools.css", "poolmgr/admin.css", "poolmgr/settings.css")}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).using(control_alias())

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        if (shown := kwargs.get("obj")) is not None:
            context["subtitle"] = self.called(shown)
        return super().render_change_form(request, context, *args, **kwargs)

    def called(self, shown: Any) -> str:
        """What a row is called in the reader's language."""
        return spoken(getattr(shown, "sentence", str(shown)))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class AcknowledgementInline(admin.TabularInline):  # type: ignore[type-arg]
    """What each process said of the command."""

    model = Acknowledgement
    fields = ("process", "state", "said", "at")
    readonly_fields = fields
    ordering = ("process",)
    extra = 0
    can_delete = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).using(control_alias())

    @admin.display(description=gettext_lazy("message"))
    def said(self, answer: Acknowledgement) -> str:
        return spoken(answer.sentence)

    def has_add_permission(self, request: HttpRequest, obj: Command | None = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Command | None = None) -> bool:
        # Whoever may see a command may see what became of it.
        return request.user.has_perm("poolmgr.view_command")


@admin.register(Command)
class CommandAdmin(ReadOnlyAdmin):
    list_display = ("when", "kind", "target", "scope", "author", "answers")
    list_filter = ("kind", "target")
    search_fields = ("target", "author", "process")
    fields = ("kind", "target", "scope", "author", "created_at", "expires_at", "progress")
    readonly_fields = fields
    inlines = (AcknowledgementInline,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).prefetch_related("acknowledgements")

    @admin.display(description=gettext_lazy("at"), ordering="created_at")
    def when(self, command: Command) -> SafeString:
        return moment(command.created_at)

    @admin.display(description=gettext_lazy("answers"))
    def answers(self, command: Command) -> str:
        # Of whoever answered: to ask the fleet store about each row would make a Redis that hangs hang the list.
        states = Counter(each.get_state_display() for each in command.acknowledgements.all() if each.process)
        return ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or DASH

    @admin.display(description=gettext_lazy("scope"))
    def scope(self, command: Command) -> str:
        if command.process == Command.ROLLING:
            return _("one process after another")
        if command.database:
            return _("database %(database)s") % {"database": command.database}
        return _("process %(uid)s") % {"uid": command.process} if command.process else _("all processes")

    @admin.display(description=gettext_lazy("progress"))
    def progress(self, command: Command) -> str:
        progress = commands.progress(command)
        said = _("%(done)s of %(total)s done") % {"done": progress.done, "total": progress.total}
        return _("%(said)s, %(failed)s failed") % {"said": said, "failed": progress.failed} if progress.failed else said


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    list_display = ("when", "kind", "target", "said", "who")
    list_filter = ("kind", "target")
    search_fields = ("message", "target", "author")
    date_hierarchy = "at"
    fields = ("kind", "target", "author", "said", "at")
    readonly_fields = fields

    @admin.display(description=gettext_lazy("at"), ordering="at")
    def when(self, event: Event) -> SafeString:
        return moment(event.at)

    @admin.display(description=gettext_lazy("message"), ordering="message")
    def said(self, event: Event) -> str:
        return spoken(event.sentence)

    @admin.display(description=gettext_lazy("author"), ordering="author", empty_value="")
    def who(self, event: Event) -> str:
        return event.author


@admin.register(Episode)
class EpisodeAdmin(ReadOnlyAdmin):
    """For whoever may see events."""

    list_display = ("when", "until", "target", "state_shown", "said", "before")
    list_filter = ("state", TroubleFilter, "target")
    search_fields = ("sentence", "target", "why")
    date_hierarchy = "began_at"
    fields = (
        "target", "began_at", "ended_at", "seen_at", "state_shown", "trouble", "said", "where", "worst", "before",
    )  # fmt: skip
    readonly_fields = fields

    def called(self, shown: Episode) -> str:
        return spoken(shown.said("sentence"))

    @admin.display(description=gettext_lazy("trouble"), ordering="family")
    def trouble(self, episode: Episode) -> str:
        return trouble_called(episode.family)

    @admin.display(description=gettext_lazy("began"), ordering="began_at")
    def when(self, episode: Episode) -> SafeString:
        return moment(episode.began_at)

    @admin.display(description=gettext_lazy("ended"), ordering="ended_at")
    def until(self, episode: Episode) -> SafeString | str:
        return moment(episode.ended_at) if episode.ended_at else _("goes on")

    @admin.display(description=gettext_lazy("state"), ordering="state")
    def state_shown(self, episode: Episode) -> SafeString:
        return format_html(
            '<span class="pm-nowrap">{} {}</span>', state_icon(episode.state), episode.get_state_display()
        )

    @admin.display(description=gettext_lazy("sentence"), ordering="sentence")
    def said(self, episode: Episode) -> str:
        return spoken(episode.said("sentence"))

    @admin.display(description=gettext_lazy("figures"))
    def worst(self, episode: Episode) -> SafeString:
        # By the names that programs know.
        return format_html("<code>{}</code>", json.dumps(episode.figures))

    @admin.display(description=gettext_lazy("place"))
    def where(self, episode: Episode) -> str:
        return spoken(episode.said("place"))

    @admin.display(description=gettext_lazy("just before"))
    def before(self, episode: Episode) -> str:
        return spoken(episode.said("why"))

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return super().has_view_permission(request, obj) or request.user.has_perm("poolmgr.view_event")


@admin.register(HealthCheck)
class HealthCheckAdmin(ReadOnlyAdmin):
    list_display = ("when", "target", "state_shown", "said", "connect", "query")
    list_filter = ("state", "target")
    search_fields = ("message", "target")
    date_hierarchy = "at"
    fields = (
        "target", "at", "state_shown", "said", "connect", "query", "server", "ours", "behind_pooler", "server_version",
    )  # fmt: skip
    readonly_fields = fields

    @admin.display(description=gettext_lazy("at"), ordering="at")
    def when(self, check: HealthCheck) -> SafeString:
        return moment(check.at)

    @admin.display(description=gettext_lazy("state"), ordering="state")
    def state_shown(self, check: HealthCheck) -> SafeString:
        return format_html('<span class="pm-nowrap">{} {}</span>', state_icon(check.state), check.get_state_display())

    @admin.display(description=gettext_lazy("message"), ordering="message")
    def said(self, check: HealthCheck) -> str:
        return spoken(check.sentence)

    @admin.display(description=gettext_lazy("connect"), ordering="connect_time")
    def connect(self, check: HealthCheck) -> SafeString:
        return _milliseconds(_("connect"), check.connect_time)

    @admin.display(description=gettext_lazy("query"), ordering="query_time")
    def query(self, check: HealthCheck) -> SafeString:
        return _milliseconds(_("query"), check.query_time)

    @admin.display(description=gettext_lazy("used at the server"), ordering="server_used")
    def server(self, check: HealthCheck) -> str:
        if check.server_used is None or check.server_max is None:
            return DASH
        room = check.server_max - (check.server_reserved or 0)
        return _("%(used)s of %(room)s") % {"used": check.server_used, "room": room}


def _milliseconds(label: str, seconds: float | None) -> SafeString:
    return labelled(label, DASH if seconds is None else _("%(n)s ms") % {"n": number_format(seconds * 1000, 1)})
