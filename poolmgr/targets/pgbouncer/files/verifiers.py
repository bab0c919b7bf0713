"""Whether an entry of a userlist lets a password in, and a verifier for one that only PgBouncer has to know."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import unicodedata
from base64 import b64decode, b64encode

_SCRAM = re.compile(r"SCRAM-SHA-256\$(\d{1,7}):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)")
_MD5 = re.compile(r"md5[0-9a-f]{32}")
#: As PostgreSQL makes them.
_ITERATIONS, _SALT = 4096, 16


def is_verifier(entry: str) -> bool:
    return bool(_SCRAM.fullmatch(entry) or _MD5.fullmatch(entry))


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
    prepared = unicodedata.normalize("NFKC", password).encode()
    salted = hashlib.pbkdf2_hmac("sha256", prepared, salt, iterations)
    client = hmac.digest(salted, b"Client Key", "sha256")
    return hashlib.sha256(client).digest(), hmac.digest(salted, b"Server Key", "sha256")


def _text(value: bytes) -> str:
    return b64encode(value).decode()
