"""Who did something, by the name that the site's own user model gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models

if TYPE_CHECKING:
    _Text = models.CharField[str, str]
else:
    _Text = models.CharField


class AuthorField(_Text):
    """A user's name, cut to what the column holds: a site's names may be longer, and no order may fail for that."""

    def __init__(self, verbose_name: Any = None, **options: Any) -> None:
        # As long as an address of e-mail, by which many sites name their users.
        super().__init__(verbose_name, **{"max_length": 254, "blank": True, **options})

    def get_prep_value(self, value: Any) -> Any:
        name = super().get_prep_value(value)
        return name[: self.max_length] if isinstance(name, str) else name

    def deconstruct(self) -> Any:
        # Migrations need know nothing of the cutting.
        name, _path, args, options = super().deconstruct()
        return name, "django.db.models.CharField", args, options
