"""Every error that poolmgr raises on purpose.

Checkout errors are also Django's ``OperationalError``, and those that a pool raises its own library's error of the same
meaning where that has one, so that the handlers a site already has keep working; each class names one cause, and its message
is a sentence an operator can act on.
"""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db.transaction import TransactionManagementError
from django.db.utils import NotSupportedError, OperationalError

from poolmgr.secrets import HIDDEN, is_secret, scrub

__all__ = [
    "AuthenticationFailed",
    "CheckoutError",
    "ConfigurationError",
    "EditedMeanwhile",
    "InvalidSpec",
    "ModeError",
    "PoolClosed",
    "PoolExhausted",
    "PoolPaused",
    "PoolmgrError",
    "ReleaseError",
    "ServerDown",
    "ServerFull",
    "TooManyWaiting",
]


class PoolmgrError(Exception):
    """The root of the tree."""


class ConfigurationError(PoolmgrError, ImproperlyConfigured):
    """A setting is wrong; the message names the key, the value unless it seems to hold a password, and what is allowed."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*(scrub(each) if isinstance(each, str) else each for each in args))


class MissingLibrary(ConfigurationError):
    """What the settings need is not installed; the message names what installs it, if that is an extra of ours."""


class InvalidSpec(ConfigurationError):
    """Pool settings that can't be applied.

    ``errors`` maps each field's name to a sentence that says what is allowed; ``where`` is the setting they stand in.
    """

    # What it was made of is what pickle and copy make it of again; hence the sentence is composed when it is asked for.
    def __init__(self, errors: dict[str, str], where: str = "") -> None:
        # A connection string in a wrong place is a key or a value here.
        errors = {HIDDEN if is_secret(field) else field: scrub(each) for field, each in errors.items()}
        super().__init__(errors, scrub(where))
        self.errors, self.where = self.args

    def __str__(self) -> str:
        prefix = f"{self.where}: " if self.where else ""
        return prefix + "; ".join(f"{field}: {message}" for field, message in self.errors.items())


class EditedMeanwhile(PoolmgrError):
    """Somebody saved or deleted the profile after the revision that was to be changed."""


class CheckoutError(PoolmgrError, OperationalError):
    """A connection could not be had in time. ``target`` names the pool."""

    def __init__(self, message: str, target: str = "") -> None:
        self.target = target
        super().__init__(scrub(message))


class PoolExhausted(CheckoutError):
    """Every connection stayed in use until the deadline."""


class TooManyWaiting(PoolExhausted):
    """``max_waiting`` requests wait already."""


class ServerDown(CheckoutError):
    """The server can't be reached."""


class AuthenticationFailed(CheckoutError):
    """The server refuses the credentials, or the database doesn't exist."""


class ServerFull(CheckoutError):
    """The server has no connection slot left."""


class PoolPaused(CheckoutError):
    """The pool was paused until the deadline."""


class PoolClosed(CheckoutError):
    """The pool was closed, as happens at shutdown."""


class ModeError(PoolmgrError, NotSupportedError):
    """The pool's mode forbids the operation."""


class ReleaseError(PoolmgrError, TransactionManagementError):
    """The connection can't be given back here: a transaction, a cursor or session state needs it."""


def errors_of(*made: type[CheckoutError]) -> dict[type[CheckoutError], type[CheckoutError]]:
    """What to raise in the place of each class above: ``made`` are a library's own too, and derive from ours first."""
    return {each.__bases__[0]: each for each in made}
