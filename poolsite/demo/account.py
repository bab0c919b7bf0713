"""The account and the place that PostgreSQL runs under: it refuses to run as root.

As an ordinary user it runs as that user, from the installed wheel, with its data where the caller wants them. As root it
runs as an existing unprivileged account. Where that account can't reach the files (a clone under /root, a private temporary
directory), nobody's permissions are changed: a copy of the server and the data live in a directory of the temp folder.
"""

import hashlib
import os
import pwd
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Any

from .processes import ProcessError

ACCOUNTS = ("postgres", "nobody", "daemon")


def unprivileged() -> "pwd.struct_passwd | None":
    """None for an ordinary user; as root the account to run the server as."""
    if os.geteuid() != 0:
        return None
    for name in ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return entry
    raise ProcessError(
        f"PostgreSQL refuses to run as root and none of the accounts {', '.join(ACCOUNTS)} exists: run as an ordinary user."
    )


def popen_arguments(entry: "pwd.struct_passwd | None") -> dict[str, Any]:
    return {} if entry is None else {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def can_reach(entry: "pwd.struct_passwd | None", path: Path) -> bool:
    """May this account pass through every directory down to path? (By the plain permission bits.)"""
    if entry is None:
        return True
    path = path.absolute()
    for directory in (path, *path.parents):
        if not directory.exists():
            continue
        status = directory.stat()
        if status.st_uid == entry.pw_uid:
            bit = stat.S_IXUSR
        elif status.st_gid == entry.pw_gid:
            bit = stat.S_IXGRP
        else:
            bit = stat.S_IXOTH
        if not status.st_mode & bit:
            return False
    return True


def own_directory(seed: Path) -> Path:
    """A directory in the temp folder whose name follows from seed, so that the next start finds its data again."""
    name = hashlib.sha256(str(seed.absolute()).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()).resolve() / f"poolmgr-{name}"


def provide(directory: Path) -> None:
    """Make the directory unless it is there, passable for the server's account."""
    try:
        directory.mkdir(mode=0o711)
        # mkdir's mode is cut by the umask.
        directory.chmod(0o711)
    except FileExistsError:
        status = directory.lstat()
        # The name can be guessed and the folder is everybody's: never trust what somebody else put there.
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            message = f"{directory} exists and is not ours: remove it, or set TMPDIR to another directory."
            raise ProcessError(message) from None


def reachable_copy(install: Path, directory: Path) -> Path:
    """A copy of the server's files under directory, made once for each installed version."""
    mark = f"{install}-{install.stat().st_mtime_ns}"
    copy = directory / f"server-{hashlib.sha256(mark.encode()).hexdigest()[:12]}"
    package = install.parent
    if not copy.exists():
        # Copied aside and renamed, so that an interrupted copy is never taken for a whole one.
        unfinished = Path(tempfile.mkdtemp(prefix="copying-", dir=directory))
        skipped = shutil.ignore_patterns("*.a", "include")
        shutil.copytree(install, unfinished / package.name / install.name, symlinks=True, ignore=skipped)
        # The wheel's shared libraries, which the programs look for beside their package.
        libraries = package.with_name(package.name + ".libs")
        if libraries.is_dir():
            shutil.copytree(libraries, unfinished / libraries.name)
        unfinished.chmod(0o755)
        try:
            unfinished.rename(copy)
        except OSError:
            # Somebody else was faster.
            shutil.rmtree(unfinished, ignore_errors=True)
    return copy / package.name / install.name
