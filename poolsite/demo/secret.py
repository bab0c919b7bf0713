"""Generated secrets, kept in files that only their owner reads, so that a second start knows them."""

import os
import secrets
from pathlib import Path


def kept_secret(path: Path, length: int = 24) -> str:
    """The secret in this file; made and written (mode 0600) the first time."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        pass
    path.parent.mkdir(parents=True, exist_ok=True)
    secret = secrets.token_urlsafe(length)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secret + "\n")
    return secret
