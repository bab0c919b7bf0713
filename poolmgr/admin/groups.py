"""The admin's fieldsets as the groups that the form's template shows, with what may only be read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib.admin.helpers import AdminForm
from django.utils.safestring import SafeString

from poolmgr.models import PoolProfile
from poolmgr.profileform.layout import WHOSE
from poolmgr.profileform.showing import Group, Marker, Row, marker, row_of


def groups_of(adminform: AdminForm, profile: PoolProfile | None) -> tuple[Group, ...]:
    mark = marker(adminform.form.target)  # type: ignore[attr-defined]  # it is a ProfileForm
    return tuple(_group(fieldset, mark, profile) for fieldset in adminform)


def _group(fieldset: Any, mark: Marker, profile: PoolProfile | None) -> Group:
    return Group(str(fieldset.name or ""), tuple(_rows(fieldset, mark, profile)), "collapse" in fieldset.classes)


def _rows(fieldset: Any, mark: Marker, profile: PoolProfile | None) -> Iterator[Row]:
    for line in fieldset:
        for each in line:
            if not each.is_readonly:
                bound = each.field
                yield row_of(bound, mark(bound.name, bound.value()))
                continue
            name = each.field["name"]
            # Whom it is for is chosen already.
            text = "" if name in WHOSE.fields else each.field["help_text"]
            marked = mark(name, getattr(profile, name, None)) if profile else ""
            control = SafeString(f'<div class="readonly">{each.contents()}</div>')
            yield Row(name, each.label_tag(), control, str(text or ""), "", "", marked)
