"""Writing the files of a declared PgBouncer: what would change, for people; and what it made of them after RELOAD."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from poolmgr.exceptions import CheckoutError, ConfigurationError
from poolmgr.pools import declaring
from poolmgr.pools.spec import PoolSpec
from poolmgr.secrets import scrub
from poolmgr.targets.pgbouncer.console import Console
from poolmgr.targets.pgbouncer.consoles import Place, databases, places
from poolmgr.targets.pgbouncer.files import connstring, userlist
from poolmgr.targets.pgbouncer.files.drafting import Drafting, Drafts, local
from poolmgr.targets.pgbouncer.files.lines import split
from poolmgr.targets.pgbouncer.files.replacing import Draft, replace_all
from poolmgr.targets.pgbouncer.handing import expect
from poolmgr.targets.pgbouncer.kind import PGBOUNCER
from poolmgr.targets.pgbouncer.picture import look
from poolmgr.targets.pgbouncer.words import same


class Filing:
    """Of one target. ``chosen`` maps its databases to aliases of the site. Raises ``ConfigurationError``."""

    def __init__(self, target: str, ini: str, userlist: str, chosen: Mapping[str, str]) -> None:
        expect(target)
        self._each = declaring.declared(PGBOUNCER)[target]
        self._places = places(self._each)
        if unknown := [name for name in chosen if name not in databases(self._each)]:
            known = ", ".join(databases(self._each))
            raise ConfigurationError(f"--from {unknown[0]}: {target!r} has no such database; it has {known}")
        path = Path(ini).absolute() if ini else self._file_of_the_running_one()
        self._drafting = Drafting(self._each, path, Path(userlist).absolute() if userlist else None, chosen)

    def draft(self, spec: PoolSpec, revision: int) -> Drafts:
        """``revision`` 0 means that of the spec those settings count that are written down."""
        fields: Collection[str] = PGBOUNCER.honours if revision else self._each.pool
        return self._drafting.drafts(spec, fields)

    def reload(self, drafts: Drafts) -> tuple[list[str], list[str]]:
        """Have each process that has read this file read it again: what it then has otherwise, in sentences, and who has
        read another.

        Raises ``ConfigurationError`` where nobody has read this one.
        """
        notes: list[str] = []
        found = [sentence for place in self._places for sentence in self._reload(place, drafts, notes)]
        if len(notes) == len(self._places):
            raise ConfigurationError(f"nobody was told to read {drafts.ini.path}: {'; '.join(notes)}")
        return found, notes

    def _file_of_the_running_one(self) -> Path:
        place = self._places[0]
        if local(place):
            with _told(place), _console(place, self._each.target) as console:
                if (path := Path(_file(console))).is_absolute() and path.exists():
                    return path
        raise ConfigurationError(
            f"say by --ini which file PgBouncer at {place.address} reads: it is not on this machine"
        )

    def _reload(self, place: Place, drafts: Drafts, notes: list[str]) -> Iterator[str]:
        with _told(place), _console(place, self._each.target) as console:
            file = _file(console)
            if Path(file).is_absolute() and (not local(place) or not _are_one(Path(file), drafts.ini.path)):
                notes.append(f"PgBouncer at {place.address} reads {file}")
                return
            console.order("RELOAD")
            console.rows("VERSION")  # it reads the file before it answers anything else
            seen = look(console, databases(self._each), 0.0, holders=False)
            known = {str(row["name"]) for row in console.rows("USERS")}
            changeable = {str(row["key"]): row.get("changeable") for row in console.rows("CONFIG")}
        for name, value in drafts.main.items():
            if not same(value, seen.config.get(name)):
                why = ", which only a restart changes" if changeable.get(name) == "no" else ""
                yield f"PgBouncer at {place.address} has {name} {seen.config.get(name)}, and not {value}{why}"
        if _are_one(Path(seen.config.get("auth_file") or "/"), drafts.userlist.path):
            for user in userlist.Userlist(drafts.userlist.after).users:
                if user not in known:
                    yield f"PgBouncer at {place.address} does not know {user!r}, who is in {drafts.userlist.path}"
        for each in seen.databases:
            if not each.there:
                yield f"PgBouncer at {place.address} has no database {each.name!r}: its log says what it can't read"
            for name, value in drafts.own.get(each.name, {}).items():
                if (now := each.own.get(name, seen.config.get(name))) != value:
                    yield f"PgBouncer at {place.address} has {name} {now} for {each.name!r}, and not {value}"


def write(drafts: Drafts) -> list[Path]:
    """Both or none, the userlist first, since the other names it; where the backups are. Raises ``ConfigurationError``."""
    return replace_all([each for each in (drafts.userlist, drafts.ini) if each.changes], datetime.now())


def difference(drafts: Drafts) -> list[str]:
    """Line by line as ``diff`` has it, and without a secret."""
    return [*_difference(drafts.ini, _masked), *_difference(drafts.userlist, userlist.masked)]


def _difference(draft: Draft, mask: Callable[[str], str]) -> list[str]:
    before, after = split(draft.before or ""), split(draft.after)
    name = str(draft.path)
    old = name if draft.before is not None else "/dev/null"
    heads, lines = 2, list(difflib.unified_diff(before, after, old, name, lineterm="", n=2))
    return lines[:heads] + [line if line[0] == "@" else line[0] + mask(line[1:]) for line in lines[heads:]]


def _masked(line: str) -> str:
    """A line of pgbouncer.ini; one that holds the words of a connection without their password."""
    key, equals, value = line.partition("=")
    if not equals or key.strip() == "auth_query":
        return scrub(line)
    if "pass" in value.lower():
        return f"{key}{equals} {connstring.masked(value.strip())}"
    return "***" if "pass" in key.lower() and "=" in value else scrub(line)


def _file(console: Console) -> str:
    return next((str(row["value"]) for row in console.rows("CONFIG") if row["key"] == "conffile"), "")


def _are_one(file: Path, other: Path) -> bool:
    return file.exists() and other.exists() and file.samefile(other)


@contextmanager
def _console(place: Place, target: str) -> Iterator[Console]:
    console = Console(place.url, target)
    try:
        with console.within():
            yield console
    finally:
        console.close()


@contextmanager
def _told(place: Place) -> Iterator[None]:
    try:
        yield
    except CheckoutError as error:
        raise ConfigurationError(f"PgBouncer at {place.address}: {error}") from None
