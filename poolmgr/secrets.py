"""Secrets: strings that don't show themselves, words without passwords, errors that lead to nothing but their words.

Reporters print what an error leads to: its causes, the locals of each frame, the settings. So a value that holds a
password is a ``Secret`` from the settings on, and where libraries put passwords together that are plain strings, the
error that leaves them is disarmed.
"""

from __future__ import annotations

import re
from typing import Any, SupportsIndex, TypeVar

import psycopg

_E = TypeVar("_E", bound=BaseException)

#: What a message says in place of a value.
HIDDEN = "a value that is not shown"
_SUBSTITUTE = "***"

#: Keys whose values are secrets, whatever they hold.
_SECRET_KEY = re.compile(r"pass|secret|token|conninfo|redis_url", re.IGNORECASE)

_WORDS = ("passw", "pwd", "secret", "token")
_WORD = r"(?:passw(?:or)?d|passwd|pwd|secret|token)\w{0,40}"
#: What looks like a password, each with that of which one must be there, which is cheaper to find. Bounded, since what a
#: text may hold is not ours to choose.
_FORMS = tuple(
    (one_of, re.compile(pattern, re.IGNORECASE), replacement)
    for one_of, pattern, replacement in (
        # scheme://user:password@host, whatever stands in the password: up to the last @
        (("@",), r"(:/{1,2})[^\s'\"]{0,1000}@", r"\1***@"),
        # the same without a scheme
        (("@",), r"\b\w[^\s:@/'\"]{0,100}:[^\s@/'\"]{1,200}@(?=[\w.\[])", "***@"),
        # the same without a host: what stands in the place of the port is none
        (("://",), r"(://[^\s/@:'\"]{0,100}:)(?!\d{1,5}(?:\D|$))[^\s/@'\"\[\]*]{1,1000}", r"\1***"),
        # password=…, as in a connection string or a URL's query; "password": "…", as in a dict
        (_WORDS, rf"({_WORD}['\"]?\s{{0,9}}=\s{{0,9}})('(?:[^'\\]|\\.)*'|\"[^\"]*\"|[^\s&'\"]+)", r"\1***"),
        (_WORDS, rf"({_WORD}['\"]?\s{{0,9}}:\s{{0,9}})('(?:[^'\\]|\\.)*'|\"[^\"]*\")", r"\1***"),
        (_WORDS, r"(\b(?:password|passwd|pwd):\s*)[^\s'\"]+", r"\1***"),
    )
)
#: Lines in which libpq says that it could not read something.
_UNREAD = re.compile(
    r"connection info string|connection option|percent-encoded|\bURI\b|port number|integer value|\bvalue: \"",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"\"[^\"\n]*\"|'[^'\n]*'")
#: What it took for a name, and is none.
_ODD = re.compile(r"\"[^\"\n]*[@=][^\"\n]*\"|'[^'\n]*[@=][^'\n]*'")


class Secret(str):
    """A string for everybody who uses it, and stars for whoever prints it as a value, pieces of it too."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(_SUBSTITUTE if self else "")

    def __getitem__(self, key: SupportsIndex | slice) -> Secret:
        # Reporters cut what is long.
        return Secret(super().__getitem__(key))


def hide(values: Any) -> None:
    """Make every string in a dict or list, however deep, a ``Secret`` in its place where it holds a password, or seems to."""
    pairs = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    for key, value in list(pairs):
        if isinstance(key, str) and not isinstance(key, Secret) and is_secret(key):
            del values[key]
            values[Secret(key)] = value
        if not isinstance(value, str):
            hide(value)
        elif not isinstance(value, Secret) and (_SECRET_KEY.search(str(key)) or is_secret(value)):
            values[key] = Secret(value)


def is_secret(text: str) -> bool:
    """Whether ``text`` looks as if it held a password: a URL with one, or a connection string."""
    # Most settings are plain words: a wrapper's are looked through whenever one is made.
    return (":" in text or "=" in text or "@" in text) and scrub(text) != text


def scrub(text: str, *known: str) -> str:
    """``text`` without anything that looks like a password, and without those that are ``known``."""
    for secret in known:
        if secret:
            text = text.replace(secret, _SUBSTITUTE)
    lowered = text.lower()
    for one_of, pattern, replacement in _FORMS:
        if any(each in lowered for each in one_of):
            text = pattern.sub(replacement, text)
    return text


def scrub_unread(text: str, *known: str) -> str:
    """The same for the words of libpq, which quote what it could not read: a piece of a password that was not encoded."""
    lines = ((_QUOTED if _UNREAD.search(line) else _ODD).sub(f'"{_SUBSTITUTE}"', line) for line in text.split("\n"))
    return scrub("\n".join(lines), *known)


def shown(value: Any) -> str:
    """``value`` as a message may show it."""
    text = repr(value)
    return f"{HIDDEN}, since it seems to hold a password," if is_secret(text) else text


def disarm(error: _E, *known: str) -> _E:
    """Take from an error what leads beyond its words, and from those what looks like a password or is ``known`` as one.

    In place: whoever has the error as a cause or context reaches nothing else by it. Where another library's code has
    raised it, a note says where, since the frames are gone.
    """
    if not isinstance(error, psycopg.Error) and (place := _place_of(error)):
        error.add_note(place)
    error.__traceback__ = error.__cause__ = error.__context__ = None
    error.args = tuple(_plain(each, known) for each in error.args)
    if notes := getattr(error, "__notes__", None):
        error.__notes__ = [scrub(str(note), *known) for note in notes]
    if isinstance(error, psycopg.Error):
        error._pgconn = None  # which knows what it was to connect with
    return error


def replica(error: Exception) -> Exception:
    """A fresh error with the class and the words of one that was disarmed: several threads may not raise the same."""
    try:
        made = type(error)(*error.args)
    except Exception:  # a class with a signature of its own
        made = psycopg.OperationalError(f"{type(error).__name__}: {error}")
    if isinstance(error, psycopg.Error) and isinstance(made, psycopg.Error):
        made.sqlstate = error.sqlstate
    for note in getattr(error, "__notes__", ()):
        made.add_note(note)
    return made


def _plain(value: Any, known: tuple[str, ...]) -> Any:
    if isinstance(value, str):
        return scrub_unread(value, *known)
    if isinstance(value, dict):
        hidden = {key for key in value if _SECRET_KEY.search(str(key))}
        return {
            _plain(key, known): _SUBSTITUTE if key in hidden else _plain(each, known) for key, each in value.items()
        }
    if isinstance(value, list | tuple):
        return [_plain(each, known) for each in value]
    return value if value is None or isinstance(value, int | float) else shown(value)


def _place_of(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return (
        f"at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}, {trace.tb_frame.f_code.co_qualname}"
        if trace
        else ""
    )
