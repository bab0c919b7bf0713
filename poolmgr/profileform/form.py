"""The form of a profile: every refusal stands at its field and says why, and what a save would lead to is told before it."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from poolmgr.control.access import control_alias
from poolmgr.control.editing.consequences import Consequence, Foreseen
from poolmgr.control.editing.profiles import known_targets
from poolmgr.control.editing.transacting import what_transacts
from poolmgr.control.editing.weighing import foresee_save
from poolmgr.control.reporting.spoken import spoken
from poolmgr.models import PoolProfile
from poolmgr.pools.spec import FIELDS, bounds
from poolmgr.profileform.saying import said_each
from poolmgr.secrets import is_secret
from poolmgr.targets.known import kind_of, likely_kind_of


class ProfileForm(forms.ModelForm):  # type: ignore[type-arg]  # generic in the stubs alone
    """Refuses to overwrite an edit that somebody else saved since the page was opened.

    What the kind of its target refuses is not offered. ``refused`` are the sentences for what a row has of it all the same,
    which a save puts right. ``foreseen`` is what a save would lead to, once all else is valid; ``unconfirmed`` of that keeps
    the form from being valid, until it is sent with a confirmation of it.
    """

    #: What a button is called by which nothing is to be saved.
    ONLY_ASK = "_foresee"

    foreseen: Foreseen | None = None
    unconfirmed: tuple[Consequence, ...] = ()

    # Not the profile's: each edit has a reason of its own, which its revision keeps.
    note = forms.CharField(
        label=gettext_lazy("Note"),
        required=False,
        max_length=200,
        widget=forms.TextInput(attrs={"class": "vLargeTextField"}),
        help_text=gettext_lazy("Why this edit; kept with its revision for whoever comes next."),
    )
    seen_revision = forms.IntegerField(required=False, widget=forms.HiddenInput)

    class Meta:
        model = PoolProfile
        fields = ("target", "role", "enabled", *FIELDS)
        widgets = {
            "validation_query": forms.TextInput(attrs={"class": "vLargeTextField", "spellcheck": "false"}),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["seen_revision"] = self.instance.revision
        # 30 seconds read better than 30.0.
        whole = {
            name: int(value) for name, value in self.initial.items() if isinstance(value, float) and value.is_integer()
        }
        self.initial.update(whole)
        self._bound()
        target = self.instance.target or self.initial.get("target")  # of a new one, that of the link
        if "pool_mode" in self.fields and target:
            self._say_what_transacts(target)
        self.refused = self._keep_to_the_kind()
        if self.instance._state.adding:
            # The constraints are to be checked where the profiles are, whatever the site's routers say.
            self.instance._state.db = control_alias()

    def _bound(self) -> None:
        """Say what a number may be as the settings do, whose sentences Django's for a column would come before."""
        for name in self.fields.keys() & {*FIELDS}:
            if isinstance(field := self.fields[name], forms.IntegerField):  # forms.FloatField is one
                field.validators = []
                least, most = bounds(name)
                field.widget.attrs |= {"min": f"{least:g}", "max": f"{most:.0f}"}

    def _keep_to_the_kind(self) -> dict[str, str]:
        kind = likely_kind_of(self.instance.target)
        refused = kind.refusals(self.instance.values())
        for name in refused:
            setattr(self.instance, name, getattr(kind.defaults, name))
        return refused

    def _say_what_transacts(self, target: str) -> None:
        if target in known_targets() and (found := what_transacts(target)):
            field = self.fields["pool_mode"]
            refused = _("“statement” would break this site: %(found)s.") % {"found": "; ".join(map(spoken, found))}
            field.help_text = format_html("{} <strong>{}</strong>", field.help_text, refused)

    @property
    def target(self) -> str:
        """The target that it is for, "" where that is to be chosen yet."""
        chosen = self.data.get(self.add_prefix("target")) if self.is_bound else self.initial.get("target")
        return str(self.instance.target or chosen or "")

    @property
    def only_asks(self) -> bool:
        return self.ONLY_ASK in self.data

    def is_valid(self) -> bool:
        """Whether it may be saved now: nothing is wrong, and what the save would lead to is harmless or confirmed."""
        if not super().is_valid():
            return False
        if self.foreseen is None:
            self._foresee()
        return not self.errors and not self.unconfirmed and not self.only_asks

    def _foresee(self) -> None:
        self.foreseen = foresee_save(self.instance)
        for each in self.foreseen.refused:
            self.add_error("validation_query", each.sentence)
        self.unconfirmed = self.foreseen.unconfirmed(self.data.get(self.add_prefix("confirmed"), ""))

    def clean_note(self) -> str:
        note: str = self.cleaned_data["note"]
        if is_secret(note):
            raise ValidationError(_("It seems to hold a password, which whoever looks at the revisions would see."))
        return note

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        if (
            self.instance.pk
            and cleaned
            and cleaned.get("note")
            and not {*self.changed_data} - {"note", "seen_revision"}
            and not self.refused
        ):
            self.add_error("note", _("Nothing else was changed, so that no revision would keep this note."))
        self._refuse_what_was_sent()
        seen = self.cleaned_data.get("seen_revision")
        if self.instance.pk and seen is not None:
            # For the sentence; save_profile() looks again under its lock.
            now = PoolProfile.objects.using(control_alias()).filter(pk=self.instance.pk).first()
            if now is not None and now.revision != seen:
                # The next attempt overwrites: by then the operator knows.
                self.data = {**dict(self.data.items()), self.add_prefix("seen_revision"): now.revision}
                who = now.updated_by or _("somebody")
                raise ValidationError(
                    _(
                        "%(who)s saved revision %(revision)s of this profile while you were editing. Open it in "
                        "another tab to see it; save again to replace it by what stands here."
                    ),
                    params={"who": who, "revision": now.revision},
                )
        return cleaned

    def _refuse_what_was_sent(self) -> None:
        """A form for a target of another kind may have been sent, with what this one refuses."""
        kind = kind_of(self.instance.target or self.cleaned_data.get("target", ""))
        if kind is None:
            return
        sent = {name: self.data[self.add_prefix(name)] for name in kind.refuses if self.add_prefix(name) in self.data}
        for name, sentence in kind.refusals(sent).items():
            self.add_error(None, f"{name}: {spoken(sentence)}")
        if self.instance._state.adding:
            for name in kind.refuses:
                setattr(self.instance, name, getattr(kind.defaults, name))

    def _update_errors(self, errors: ValidationError) -> None:
        # A field that is wrong by itself has its reason already: comparing its old value with others only confuses.
        if hasattr(errors, "error_dict"):
            fresh = {name: said_each(each) for name, each in errors.error_dict.items() if name not in self.errors}
            if not fresh:
                return
            # Reasons for fields that this page does not show still have to be seen.
            unseen = [each for name, found in fresh.items() if name not in self.fields for each in found]
            errors = ValidationError({name: found for name, found in fresh.items() if name in self.fields})
            if unseen:
                self.add_error(None, ValidationError(unseen))
            if not errors.error_dict:
                return
        super()._update_errors(errors)  # type: ignore[misc]


def target_field(help_text: str) -> forms.ChoiceField:
    """A select of the targets that exist."""
    known = known_targets()
    if known:
        refusal = _("“%%(value)s” is no target of this site; there are %(known)s.") % {"known": ", ".join(known)}
    else:
        refusal = _("“%(value)s” is no target: the settings of this site name none.")
    return forms.ChoiceField(
        label=gettext_lazy("Target"),
        choices=[("", "---------"), *((target, target) for target in known)],
        help_text=help_text,
        error_messages={"invalid_choice": refusal},
    )
