"""Who this process is: a uid that no other process ever has, and a role."""

from __future__ import annotations

import os
import secrets
import socket
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import PurePath

from poolmgr.conf import ROLES, WEB_COMMANDS, WORKER_COMMANDS, conf
from poolmgr.exceptions import ConfigurationError

_WEB = frozenset({"gunicorn", "uvicorn", "daphne", "hypercorn", "granian", "waitress-serve", "uwsgi", "mod_wsgi"})


#: As many bytes of an application_name a server shows.
_SHOWN = 63


def process_uid() -> str:
    """Host, pid and a random part, since hosts of a fleet may share names and pids; at most 64 characters."""
    # A child of a fork is another process, whatever its memory says and whoever forked.
    return _uid_of(os.getpid())


@cache
def _uid_of(pid: int) -> str:
    return f"{host()[:40]}-{pid}-{secrets.token_hex(4)}"


def host() -> str:
    return socket.gethostname() or "localhost"


def application_name() -> str:
    """``poolmgr:role:host:pid``, by which a server's own views lead back to this process: ASCII, at most 63 characters."""
    try:
        its_role = role()
    except ConfigurationError:  # which the checks and the agent tell of: a connection is none the worse for it
        its_role = role_of(sys.argv)
    return application_name_of(its_role, host(), os.getpid())


def application_name_of(its_role: str, its_host: str, pid: int) -> str:
    """The same for any process."""
    # PostgreSQL would replace what is not printable ASCII, and cut off the end.
    name = "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in its_host)
    return f"poolmgr:{its_role}:{name[: _SHOWN - len(f'poolmgr:{its_role}::{pid}')]}:{pid}"


def role() -> str:
    """``POOLMGR["ROLE"]``, else the environment's ``POOLMGR_ROLE``, else what the command line says.

    Raises ``ConfigurationError`` for a role that does not exist.
    """
    if given := conf().ROLE or os.environ.get("POOLMGR_ROLE", ""):
        if given not in ROLES:
            raise ConfigurationError(f"POOLMGR_ROLE is {given!r}, but must be one of {', '.join(ROLES)}")
        return given
    return role_of(sys.argv)


def role_of(argv: Sequence[str]) -> str:
    """The role of a process with this command line; whoever is neither web nor worker is a command."""
    program, words = _program(argv), set(argv[1:])
    if program in _WEB or (words & WEB_COMMANDS and _is_django(program)):
        return "web"
    if program == "celery" and words & WORKER_COMMANDS:
        return "worker"
    return "command"


def short_name() -> str:
    """The command line's short form for people, such as "gunicorn" or "manage.py shell", without what fits in no row."""
    return _name()[:200].encode(errors="replace").decode()


def _name() -> str:
    program = _program(sys.argv)
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    if _is_django(program) and words:
        return f"{program} {words[0]}"
    if program == "celery":
        # "celery -A site worker": the option's value is no subcommand.
        return " ".join(["celery", *[word for word in words if word in WORKER_COMMANDS][:1]])
    return program


def _program(argv: Sequence[str]) -> str:
    path = PurePath(argv[0] if argv else "")
    # python -m gunicorn: the path of the package's __main__.py.
    name = path.parent.name if path.name == "__main__.py" else path.name
    return name.removesuffix(".exe") or "python"


def _is_django(program: str) -> bool:
    return program in {"manage.py", "django-admin", "django"}
