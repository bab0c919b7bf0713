"""Whether an entry of a userlist lets a password in, and a verifier for one that only PgBouncer has to know."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import stringprep
import unicodedata
from base64 import b64decode, b64encode

_SCRAM = re.compile(r"SCRAM-SHA-256\$(\d{1,7}):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)")
#: What no prepared password holds: one that would is taken as it is.
_PROHIBITED = (
    stringprep.in_table_a1,
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)
_MD5 = re.compile(r"md5[0-9a-f]{32}")
#: As PostgreSQL makes them.
_ITERATIONS, _SALT = 4096, 16


def is_verifier(entry: str) -> bool:
    return bool(_SCRAM.fullmatch(entry) or _MD5.fullmatch(entry))


def is_md5(entry: str) -> bool:
    """Whether it lets nobody in who logs in by SCRAM."""
    return bool(_MD5.fullmatch(entry))


def fits(entry: str, user: str, password: str) -> bool:
    if (scram := _SCRAM.fullmatch(entry)) is not None:
        stored, _ = _keys(password, b64decode(scram[2]), int(scram[1]))
        return hmac.compare_digest(stored, b64decode(scram[3]))
    if _MD5.fullmatch(entry):
        return entry == "md5" + hashlib.md5((password + user).encode(), usedforsecurity=False).hexdigest()
    return entry == password


def verifier(password: str) -> str:
    """With a salt of its own: no server has the same."""
    salt = secrets.token_bytes(_SALT)
    stored, server = _keys(password, salt, _ITERATIONS)
    return f"SCRAM-SHA-256${_ITERATIONS}:{_text(salt)}${_text(stored)}:{_text(server)}"


def _keys(password: str, salt: bytes, iterations: int) -> tuple[bytes, bytes]:
    salted = hashlib.pbkdf2_hmac("sha256", _prepared(password).encode(), salt, iterations)
    client = hmac.digest(salted, b"Client Key", "sha256")
    return hashlib.sha256(client).digest(), hmac.digest(salted, b"Server Key", "sha256")


def _prepared(password: str) -> str:
    """By SASLprep (RFC 4013), as PostgreSQL and its clients have it: what that refuses stays as it is."""
    if password.isascii():
        return password
    prepared = unicodedata.normalize("NFKC", "".join(map(_mapped, password)))
    refused = not prepared or any(table(each) for each in prepared for table in _PROHIBITED)
    return password if refused or not _has_one_direction(prepared) else prepared


def _mapped(character: str) -> str:
    if stringprep.in_table_c12(character):
        return " "
    return "" if stringprep.in_table_b1(character) else character


def _has_one_direction(text: str) -> bool:
    if not any(map(stringprep.in_table_d1, text)):
        return True
    return not any(map(stringprep.in_table_d2, text)) and all(map(stringprep.in_table_d1, (text[0], text[-1])))


def _text(value: bytes) -> str:
    return b64encode(value).decode()
