"""The files as they should be, from those that there are, DATABASES, and the settings of the target."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psycopg.conninfo import conninfo_to_dict

from poolmgr.conf import Declared
from poolmgr.exceptions import ConfigurationError
from poolmgr.pools.spec import PoolSpec
from poolmgr.targets.pgbouncer.consoles import Place, databases, own_settings, places
from poolmgr.targets.pgbouncer.files import behind, connstring
from poolmgr.targets.pgbouncer.files.asking import verifiers
from poolmgr.targets.pgbouncer.files.ini import DATABASES, MAIN, USERS, Ini
from poolmgr.targets.pgbouncer.files.replacing import Draft, read
from poolmgr.targets.pgbouncer.files.userlist import Userlist
from poolmgr.targets.pgbouncer.files.verifiers import fits, is_md5, verifier
from poolmgr.targets.pgbouncer.words import settings_for

#: Ways of logging in by which PgBouncer learns of a client what it needs to log in at the server as that one.
_SCRAM, _MD5 = "scram-sha-256", "md5"
_BY_VERIFIER = frozenset({_SCRAM, _MD5, "hba"})
_KEY = re.compile(r"[A-Za-z0-9_.-]+")
#: What a setting of the whole is called in the line of one database.
_IN_A_LINE = {"default_pool_size": "pool_size"}
_PLACE = ("host", "port", "dbname")


@dataclass(frozen=True, slots=True)
class Drafts:
    """``main`` are the settings of the whole, by PgBouncer's names, ``own`` those of one database alone; ``notes`` are for
    whoever reads the diff.
    """

    ini: Draft
    userlist: Draft
    main: Mapping[str, str]
    own: Mapping[str, Mapping[str, str]]
    notes: tuple[str, ...]


class Drafting:
    """Raises ``ConfigurationError`` with what is missing, and where it is given."""

    def __init__(self, each: Declared, ini: Path, userlist: Path | None, chosen: Mapping[str, str]) -> None:
        self._each, self._path, self._chosen = each, ini, chosen
        self._before = read(ini)
        self._ini = Ini(self._before or "", str(ini))
        self._places = places(each)
        self._console: dict[str, Any] = conninfo_to_dict(self._places[0].url)
        self._aliases = behind.aliases([conninfo_to_dict(place.url) for place in self._places])
        self._userlist = userlist or self._auth_file()
        if self._userlist.resolve() == ini.resolve():
            raise ConfigurationError(f"{ini} can't be the userlist too: say by --userlist which file that is")
        self._notes: list[str] = []

    def drafts(self, spec: PoolSpec, fields: Collection[str]) -> Drafts:
        main = self._main(settings_for(spec, fields, len(self._places) * len(databases(self._each))))
        servers = self._databases()
        main |= behind.tls_of(servers)
        for name, value in main.items():
            self._ini.set(MAIN, name, value)
        self._tell_of_users({_IN_A_LINE.get(name, name) for name in main})
        if self._ini.includes:
            self._notes.append(f"{self._path} includes other files, which are neither read nor changed")
        before, after = read(self._userlist), self._people(servers)
        ini = Draft(self._path, self._before, self._ini.text, closed=False, like=self._userlist)
        userlist = Draft(self._userlist, before, after, closed=True, like=self._path)
        return Drafts(ini, userlist, main, own_settings(self._each), tuple(self._notes))

    def _tell_of_users(self, settings: set[str]) -> None:
        for user, line in self._ini.items(USERS).items():
            if own := sorted(settings & (connstring.parse(line) or {}).keys()):
                self._notes.append(
                    f"{self._path} has {', '.join(own)} of its own for the user {user!r}, which goes before the target's"
                )

    def _auth_file(self) -> Path:
        named = self._ini.get(MAIN, "auth_file")
        if named and not Path(named).is_absolute():
            raise ConfigurationError(
                f"auth_file of {self._path} is {named}, which is relative to where PgBouncer was started: say by --userlist"
                " which file that is"
            )
        if not named and self._ini.includes:
            raise ConfigurationError(
                f"{self._path} says nothing of auth_file, and includes other files: say by --userlist which file that is"
            )
        return Path(named) if named else self._path.with_name("userlist.txt")

    def _main(self, wanted: dict[str, str]) -> dict[str, str]:
        """What is set, and in a new file also what nobody could do without."""
        user = str(self._console.get("user") or "")
        if self._before is None:
            host = str(self._console.get("host") or "")
            where = {"unix_socket_dir": host} if host.startswith("/") else {"listen_addr": host or "127.0.0.1"}
            wanted = {**where, "listen_port": str(self._console["port"]), "auth_type": _SCRAM, **wanted}
            wanted |= {"admin_users": user} if user else {}
        elif user and not self._ini.includes:
            allowed = [self._ini.get(MAIN, key) or "" for key in ("admin_users", "stats_users")]
            if user not in _names(",".join(allowed)):
                self._notes.append(
                    f"the console's user {user!r} is in neither admin_users nor stats_users of {self._path}"
                )
        if self._ini.get(MAIN, "auth_file") is None and not self._ini.includes:
            wanted = {"auth_file": str(self._userlist), **wanted}
        return wanted

    def _databases(self) -> list[behind.Alias]:
        servers = []
        for name in databases(self._each):
            if not _KEY.fullmatch(name):
                raise ConfigurationError(
                    f"{self._each.where}['DATABASES']: {name!r} can't stand in pgbouncer.ini, which knows letters of ASCII,"
                    " digits, and _ . - alone; a line of * serves it"
                )
            line = self._ini.get(DATABASES, name)
            words = connstring.parse(line or "")
            if words is None:
                raise ConfigurationError(
                    f"the line of {name!r} in {self._path} is not of words with values, such as host=h"
                )
            server = behind.server_of(name, self._aliases, self._chosen)
            if server is None and line is None:
                raise ConfigurationError(
                    f"no database of DATABASES leads to the server of {name!r}, and {self._path} has no line of it: name one"
                    f" by --from {name}=ALIAS, or write the line"
                )
            if server is not None:
                servers.append(server)
                if untold := server.untold:
                    self._notes.append(
                        f"DATABASES[{server.name!r}] has {', '.join(untold)}, which PgBouncer has no setting for"
                    )
            own = own_settings(self._each).get(name, {})
            kept = words if server is None else {k: v for k, v in words.items() if k not in _PLACE or k in server.place}
            changed = {**kept, **(server.place if server else {}), **{_IN_A_LINE.get(k, k): v for k, v in own.items()}}
            if changed != words:
                self._ini.set(DATABASES, name, connstring.render(changed))
        return servers

    def _people(self, servers: list[behind.Alias]) -> str:
        made = Userlist(read(self._userlist) or "")
        users = behind.people([*servers, *(each for each in self._aliases if each.through)])
        known = self._verifiers(servers, users)
        for user, password in users.items():
            if (entry := self._entry(user, password, made.get(user), known.get(user))) is not None:
                made.set(user, entry)
        user, password = str(self._console.get("user") or ""), str(self._console.get("password") or "")
        present = made.get(user)
        if user and user not in users and password and not self._lets_in(present, user, password):
            # Nobody else has to know it.
            made.set(user, verifier(password))
        return made.text

    def _entry(self, user: str, password: str, present: str | None, known: str | None) -> str | None:
        """What the userlist should have of a user; None to leave it."""
        lines = [connstring.parse(line) or {} for line in self._ini.items(DATABASES).values()]
        # As whom it logs in by itself, for which a verifier is not enough.
        by_itself = {
            self._ini.get(MAIN, "auth_user"),
            *(words.get(key) for words in lines for key in ("user", "auth_user")),
        }
        asks = self._ini.get(MAIN, "auth_user") or any("auth_user" in words for words in lines)
        if asks and present is None and user not in by_itself:
            return None  # auth_query tells of it
        if known and user not in by_itself:
            return known
        if present and (not password or self._lets_in(present, user, password)):
            return None
        if not password:
            self._notes.append(
                f"the user {user!r} has no password in DATABASES, and its verifier can't be read: give"
                f" {self._userlist} an entry"
            )
            return None
        return password

    def _lets_in(self, entry: str | None, user: str, password: str) -> bool:
        if entry is None or (is_md5(entry) and self._auth_type() != _MD5):
            return False
        return fits(entry, user, password)

    def _auth_type(self) -> str:
        """ "" where another file may say it."""
        return self._ini.get(MAIN, "auth_type") or ("" if self._ini.includes else _MD5)

    def _verifiers(self, servers: list[behind.Alias], users: Mapping[str, str]) -> dict[str, str]:
        if self._auth_type() not in _BY_VERIFIER:
            return {}
        # One line for each user serves all databases: the verifier of one server is no good at another.
        lines = (connstring.parse(line) or {} for line in self._ini.items(DATABASES).values())
        servers_of_all = {_server_of(words) for words in lines if "user" not in words}
        found: dict[str, dict[tuple[str, str], str]] = {}
        for each in servers:
            told, why = verifiers(each, users)
            for user, entry in told.items():
                if self._auth_type() == _MD5 or not is_md5(entry):
                    found.setdefault(user, {})[_server_of(each.place)] = entry
            if why:
                self._notes.append(why)
        return {
            user: next(iter(entries.values()))
            for user, entries in found.items()
            if len({*entries.values()}) == 1 and (entries.keys() >= servers_of_all or not users[user])
        }


def _server_of(words: Mapping[str, str]) -> tuple[str, str]:
    return words.get("host", ""), words.get("port") or "5432"


def _names(text: str) -> set[str]:
    return {each.strip() for each in text.split(",")}


def local(place: Place) -> bool:
    """Whether it is on this machine, as far as its address tells."""
    host = str(conninfo_to_dict(place.url).get("host") or "")
    return host.startswith("/") or host in ("", "localhost", "127.0.0.1", "::1")
