"""Replacing files so that nobody ever reads half of one, and what they were is kept beside them."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from poolmgr.exceptions import ConfigurationError


@dataclass(frozen=True, slots=True)
class Draft:
    """A file as it is, None where there is none, and as it should be. ``closed`` is for one that only its owner may read."""

    path: Path
    before: str | None
    after: str
    closed: bool

    @property
    def changes(self) -> bool:
        return self.before != self.after


def read(path: Path) -> str | None:
    """None where there is none. Raises ``ConfigurationError``."""
    try:
        # Byte for byte: a carriage return may be anybody's.
        return path.read_bytes().decode()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no UTF-8"
        raise ConfigurationError(f"{path} can't be read: {why}") from None


def replace_all(drafts: list[Draft], now: datetime) -> list[Path]:
    """All of them or none, in their order, each at once; where their backups are.

    Owner and mode stay, or are the directory's owner and 0640, of a closed one 0600. Raises ``ConfigurationError``.
    """
    ready: list[tuple[Draft, Path]] = []
    try:
        for each in drafts:
            ready.append((each, _beside(each)))
        if changed := [each.path for each in drafts if read(each.path) != each.before]:
            raise ConfigurationError(f"{changed[0]} was changed meanwhile, and is left as it is: look at it again")
        backups = [_backup(each, now) for each in drafts if each.before is not None]
        for each, made in ready:
            made.replace(_real(each.path))
    except OSError as error:
        where = Path(error.filename).parent  # the name is one of ours
        raise ConfigurationError(f"nothing can be written into {where}: {error.strerror}") from None
    finally:
        for _, made in ready:
            with suppress(OSError):
                made.unlink(missing_ok=True)
    return backups


def _real(path: Path) -> Path:
    # A link stays one.
    return Path(os.path.realpath(path))


def _beside(draft: Draft) -> Path:
    """The whole of it under another name, as its owner's."""
    path = _real(draft.path)
    status = path.stat() if path.exists() else None
    owner = status or path.parent.stat()
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    made = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(draft.after.encode())
            _own(file.fileno(), owner, path)
            os.fchmod(file.fileno(), _mode(draft, status))
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        made.unlink(missing_ok=True)
        raise
    return made


def _mode(draft: Draft, status: os.stat_result | None) -> int:
    if draft.closed:
        return 0o600
    return status.st_mode & 0o7777 if status else 0o640


def _own(handle: int, owner: os.stat_result, path: Path) -> None:
    made = os.fstat(handle)
    if (made.st_uid, made.st_gid) == (owner.st_uid, owner.st_gid):
        return
    try:
        os.fchown(handle, owner.st_uid, owner.st_gid)
    except PermissionError:
        if made.st_uid == owner.st_uid:
            return  # of another group, which few may give it to
        raise ConfigurationError(
            f"{path} belongs to the user with the number {owner.st_uid}, and this account can't give it back: run this as"
            " that user or as root"
        ) from None


def _backup(draft: Draft, now: datetime) -> Path:
    path = _real(draft.path)
    kept = path.with_name(f"{path.name}.{now:%Y%m%d-%H%M%S.%f}.bak")
    status = path.stat()
    # Made empty and closed before anything stands in it.
    handle = os.open(kept, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file, path.open("rb") as old:
        _own(file.fileno(), status, kept)
        shutil.copyfileobj(old, file)
        os.fchmod(file.fileno(), 0o600 if draft.closed else status.st_mode & 0o7777)
    return kept
