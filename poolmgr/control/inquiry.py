"""What one process asks another about a checkout there, and what that answers."""

from __future__ import annotations

from enum import StrEnum

from django.core import signing
from msgspec import Struct
from msgspec.structs import replace

from poolmgr.metrics.decoding import Real, Text, Texts, Unreadable, decode, encode
from poolmgr.metrics.snapshot import Holder

#: The most of a stack that is told: calls, and bytes of them.
MOST_CALLS, MOST_BYTES = 50, 20_000
#: The longest answer that is read, in bytes.
LONGEST_ANSWER = 128 * 1024
_SALT = "poolmgr.inquiry"


class What(StrEnum):
    """What is wanted: to look, or one of the orders, by the names that ``Kind.denies`` has for them."""

    LOOK = "look"
    CANCEL = "cancel"
    END = "end"


class Inquiry(Struct, frozen=True):
    """``uid`` is the process that is asked, ``name`` no other inquiry's, ``author`` who orders."""

    uid: Text
    name: Text
    what: Text
    target: Text
    checkout: Text
    author: Text = ""

    def sealed(self) -> str:
        """As it travels: who can write to the store alone, and has not the site's key, orders nothing."""
        return _signer().sign(encode(self).decode())


def _signer() -> signing.Signer:
    return signing.Signer(salt=_SALT)


def opened(text: str) -> Inquiry:
    """What was sealed with the key of this site. Raises ``Unreadable``."""
    try:
        sealed = _signer().unsign(text)
    except signing.BadSignature as error:
        raise Unreadable("it was not sealed with this site's key") from error
    return decode(Inquiry, sealed)


class Answer(Struct, frozen=True, omit_defaults=True):
    """``holders`` has the one whose checkout it is, none where that was over. ``done`` is whether what was wanted was done,
    and ``why`` a sentence where it was not. ``at`` is in seconds since the epoch, by the clock of the process that answers.
    """

    at: Real
    done: bool
    why: Text = ""
    holders: tuple[Holder, ...] = ()
    stack: Texts = ()

    @property
    def holder(self) -> Holder | None:
        return self.holders[0] if self.holders else None

    def to_json(self) -> str:
        text = encode(self).decode()
        # Of an odd library's names the stack may be longer in JSON than it is.
        return text if len(text) <= LONGEST_ANSWER else replace(self, stack=()).to_json()


def read_answer(text: str) -> Answer:
    """Raises ``Unreadable``."""
    return decode(Answer, text)
