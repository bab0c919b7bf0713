"""What the lists of the admin have in common: moments to the second, and cells that say on a phone what they are."""

from __future__ import annotations

from datetime import datetime

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _


def moment(at: datetime) -> SafeString:
    """A date and a time with its seconds: checks are half a minute apart, and commands less."""
    return format_html('<span class="pm-nowrap">{}</span> <span class="pm-nowrap">{}</span>', *_date_and_time(at))


def moment_text(at: datetime) -> str:
    return " ".join(_date_and_time(at))


def labelled(label: object, content: object) -> SafeString:
    """A cell whose column's name stands before it where the list has no room for a header."""
    return format_html('<span class="pm-cell" data-label="{}">{}</span>', label, content)


def edited(revision: int, author: str) -> str:
    """Such as “4 by ann”."""
    return _("%(number)s by %(who)s") % {"number": revision, "who": author} if author else str(revision)


def _date_and_time(at: datetime) -> tuple[str, str]:
    # Without USE_TZ the database gives naive times, in the site's zone already.
    local = timezone.localtime(at) if timezone.is_aware(at) else at
    return date_format(local, "SHORT_DATE_FORMAT"), date_format(local, "H:i:s")
