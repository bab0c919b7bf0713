"""The list of the profiles: its columns, and what the fleet makes of each row."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Model
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from poolmgr.admin.cells import edited, labelled, moment_text
from poolmgr.admin.live import DASH, Live, live_states, state_icon
from poolmgr.control.reporting.fleet import read_fleet
from poolmgr.models import PoolProfile
from poolmgr.targets.known import likely_kind_of


class LiveList(ChangeList):
    """Whose rows know what the fleet makes of them, read once for the page."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows = list(self.result_list)
        states = live_states(read_fleet(), rows)
        for row in rows:
            row.live = states[row.pk]
        self.result_list = rows


@admin.display(description=gettext_lazy("role"), ordering="role")
def role_name(profile: PoolProfile) -> str:
    return profile.get_role_display()


@admin.display(description=gettext_lazy("in force"))
def in_force(profile: PoolProfile) -> SafeString:
    live = _live(profile)
    return format_html('<span class="pm-nowrap">{} {}</span>', state_icon(live.state), live.sentence)


@admin.display(description=gettext_lazy("in use / idle / waiting"))
def fleet_figures(profile: PoolProfile) -> SafeString:
    live = _live(profile)
    figures = f"{live.used} / {live.idle} / {live.pending}" if live.pools else DASH
    return labelled(_("in use / idle / waiting"), figures)


@admin.display(description=gettext_lazy("pool mode"), ordering="pool_mode")
def mode(profile: PoolProfile) -> SafeString:
    honoured = "pool_mode" in likely_kind_of(profile.target).honours
    return labelled(_("pool mode"), profile.get_pool_mode_display() if honoured else DASH)


@admin.display(description=gettext_lazy("min and max size"), ordering="max_size")
def sizes(profile: PoolProfile) -> SafeString:
    sizes = _("%(min)s to %(max)s") % {"min": profile.min_size, "max": profile.max_size}
    return labelled(_("min and max size"), sizes)


@admin.display(description=gettext_lazy("revision"), ordering="updated_at")
def edit(profile: PoolProfile) -> SafeString:
    who = edited(profile.revision, profile.updated_by)
    return format_html(
        '<span title="{}" data-label="{}">{}</span>', moment_text(profile.updated_at), _("revision"), who
    )


def _live(profile: Model) -> Live:
    live = getattr(profile, "live", None)
    return live if isinstance(live, Live) else Live()
