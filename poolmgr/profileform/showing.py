"""What a page shows of the form: group by group, what differs from the default marked, groups with such a field open."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from django.forms import BoundField
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from poolmgr.pools.spec import FIELDS, plainly
from poolmgr.profileform.form import ProfileForm
from poolmgr.profileform.layout import EDIT, SETTINGS, Section
from poolmgr.targets.known import bootstrap_spec, likely_kind_of

#: Of a setting's name and value what it differs from, "" where from nothing.
Marker = Callable[[str, Any], str]


@dataclass(frozen=True, slots=True)
class Row:
    """One field; ``mark`` is what its value differs from, ``errors`` a list for people."""

    name: str
    label: SafeString
    control: SafeString
    help: str
    help_id: str
    errors: Any
    mark: str = ""
    hidden: bool = False
    checkbox: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """``differ`` counts the marks."""

    title: str
    rows: tuple[Row, ...]
    folded: bool = False

    @property
    def differ(self) -> int:
        return sum(bool(row.mark) for row in self.rows)

    @property
    def is_open(self) -> bool:
        return not self.folded or any(row.mark or row.errors for row in self.rows)


def marker(target: str) -> Marker:
    """How a setting's value differs from what a pool of ``target`` has by default, and by the site's settings."""
    defaults = likely_kind_of(target).defaults
    bootstrap = (bootstrap_spec(target) if target else None) or defaults

    def mark(name: str, value: Any) -> str:
        if name not in FIELDS:
            return ""
        default, own, now = (_plain(each) for each in (getattr(defaults, name), getattr(bootstrap, name), value))
        if now == default == own:
            return ""
        said = {"default": default, "own": own}
        if own == default:
            return _("default %(default)s") % said
        if now == default:
            return _("settings %(own)s") % said
        return _("default %(default)s, settings %(own)s") % said

    return mark


def _plain(value: Any) -> str:
    """The same for 30, 30.0 and "30"."""
    try:
        return plainly(float(value))
    except (TypeError, ValueError):
        return str(value or "").strip()


def row_of(bound: BoundField, mark: str = "") -> Row:
    is_checkbox = bound.widget_type == "checkbox"
    return Row(
        bound.name,
        bound.label_tag(label_suffix="" if is_checkbox else None),
        SafeString(bound),
        str(bound.help_text or ""),
        f"{bound.id_for_label}_helptext" if bound.id_for_label else "",
        bound.errors,
        mark,
        bound.is_hidden,
        is_checkbox,
    )


def groups_of(form: ProfileForm, sections: Iterable[Section] = (*SETTINGS, EDIT)) -> tuple[Group, ...]:
    """The fields that the form has of ``sections``."""
    mark = marker(form.target)
    found = []
    for section in sections:
        rows = tuple(
            row_of(form[name], mark(name, form[name].value())) for name in section.fields if name in form.fields
        )
        if rows:
            found.append(Group(str(section.title), rows, section.folded))
    return tuple(found)
