"""What the admin asks beside the settings of a profile."""

from __future__ import annotations

from django import forms
from django.utils.translation import gettext_lazy

from poolmgr.models import PoolProfile


class RoleForm(forms.Form):
    """The role that a duplicate is for."""

    role = forms.ChoiceField(
        label=gettext_lazy("Role"),
        choices=[choice for choice in PoolProfile.Role.choices if choice[0]],
        help_text=gettext_lazy("Processes of this role will follow the copy instead of the original."),
    )
