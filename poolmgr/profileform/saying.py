"""Why settings can't be so, in the reader's language: the rules say it in phrases, which know nothing of who reads them."""

from __future__ import annotations

from collections.abc import Iterable

from django.core.exceptions import ValidationError

from poolmgr.control.reporting.spoken import spoken
from poolmgr.exceptions import InvalidSpec
from poolmgr.metrics.phrases import Phrase


def told(refusal: InvalidSpec | ValidationError) -> str:
    """All of it, for a message."""
    if isinstance(refusal, InvalidSpec):
        said = "; ".join(f"{field}: {spoken(each)}" for field, each in refusal.errors.items())
        return f"{spoken(refusal.where)}: {said}" if refusal.where else said
    return " ".join(ValidationError(said_each(_each(refusal))).messages)


def said_each(errors: Iterable[ValidationError]) -> list[ValidationError]:
    """Errors of single sentences; Django's own are in the reader's language already."""
    return [ValidationError(spoken(each.message)) if isinstance(each.message, Phrase) else each for each in errors]


def _each(error: ValidationError) -> list[ValidationError]:
    if hasattr(error, "error_dict"):
        return [each for found in error.error_dict.values() for each in found]
    return list(error.error_list)
