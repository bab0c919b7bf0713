"""Replacing files so that nobody ever reads half of one, and what they were is kept beside them."""

from __future__ import annotations

import fcntl
import glob
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from poolmgr.exceptions import ConfigurationError

#: How the names end of what is written and not in its place yet.
_UNDER_WAY = ".poolmgr-new"


@dataclass(frozen=True, slots=True)
class Draft:
    """A file as it is, None where there is none, and as it should be.

    ``closed`` is for one that only its owner and group may read, as far as they may. A new one is as ``like`` is, if that is
    there.
    """

    path: Path
    before: str | None
    after: str
    closed: bool
    like: Path | None = None

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


def replace_all(drafts: Sequence[Draft], now: datetime) -> list[Path]:
    """All of them or none, in their order, each at once; where their backups are.

    Owner and mode stay. Raises ``ConfigurationError``.
    """
    with _alone(drafts), ExitStack() as stack:
        ready = []
        for each in drafts:
            _clear_up(each)
            with _told(each.path):
                ready.append((each, made := _beside(each)))
            stack.callback(_remove, made)
        if changed := [each.path for each in drafts if read(each.path) != each.before]:
            raise ConfigurationError(f"{changed[0]} was changed meanwhile, and is left as it is: look at it again")
        backups: list[Path] = []
        with ExitStack() as undo:
            for each in drafts:
                if each.before is not None:
                    with _told(each.path):
                        backups.append(kept := _backup(each, now))
                    undo.callback(_remove, kept)
            for each, made in ready:
                try:
                    made.replace(_real(each.path))
                except OSError as error:
                    raise ConfigurationError(
                        f"{each.path} can't be replaced, and all is as it was: {error.strerror}"
                    ) from None
                undo.callback(_put_back, each)
            undo.pop_all()
    return backups


@contextmanager
def _alone(drafts: Sequence[Draft]) -> Iterator[None]:
    """Of two who write into a directory the second finds what the first has written."""
    with ExitStack() as stack:
        for directory in sorted({_real(each.path).parent for each in drafts}):
            with _told(directory / "it"):
                handle = os.open(directory, os.O_RDONLY)
                stack.callback(os.close, handle)
                fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigurationError(f"nothing can be written into {_real(path).parent}: {error.strerror}") from None


def _clear_up(draft: Draft) -> None:
    """What somebody left who was killed in the middle, with secrets in it."""
    path = _real(draft.path)
    for left in path.parent.glob(f".{glob.escape(path.name)}.*{_UNDER_WAY}"):
        _remove(left)


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)


def _put_back(draft: Draft) -> None:
    if draft.before is None:
        _remove(_real(draft.path))
    else:
        with suppress(OSError):
            _beside(Draft(draft.path, draft.after, draft.before, draft.closed)).replace(_real(draft.path))


def _real(path: Path) -> Path:
    # A link stays one.
    return Path(os.path.realpath(path))


def _beside(draft: Draft) -> Path:
    """The whole of it under another name, as its owner's."""
    path = _real(draft.path)
    status = next((each.stat() for each in (path, draft.like) if each is not None and each.exists()), None)
    owner = status or path.parent.stat()
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=_UNDER_WAY, dir=path.parent)
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
    mode = stat.S_IMODE(status.st_mode) if status else 0o640
    if draft.closed:
        return mode & 0o640 | 0o600 if status else 0o600
    return mode


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
