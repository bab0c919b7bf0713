"""``manage.py pgbouncer config``: its files as DATABASES and the profiles have them, shown as a difference, or written."""

from __future__ import annotations

from argparse import ArgumentTypeError
from typing import Any

from django.core.management.base import CommandError, CommandParser

from poolmgr.control import agent
from poolmgr.control.access import control_database, sentence_of
from poolmgr.control.desired import read_profiles, wishes
from poolmgr.exceptions import ConfigurationError
from poolmgr.management.terminal.english import EnglishCommand
from poolmgr.pools.spec import PoolSpec
from poolmgr.targets.known import bootstrap_spec, files, led_targets


class Command(EnglishCommand):
    help = (
        "What the files of a PgBouncer of POOLMGR['TARGETS'] should say, by DATABASES and the target's profile: shows what "
        "differs, and writes it with --write. What else stands in them stays. No secret is printed."
    )
    # Also for a site that is just being put together.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("what", choices=["config"], help="config: pgbouncer.ini and its userlist.")
        parser.add_argument("target", nargs="?", default="", metavar="TARGET", help="Needed where there are several.")
        parser.add_argument("--ini", default="", metavar="PATH", help="pgbouncer.ini (what the running one has read).")
        parser.add_argument("--userlist", default="", metavar="PATH", help="Its userlist (its auth_file).")
        parser.add_argument(
            "--from",
            dest="chosen",
            action="append",
            type=_pair,
            default=[],
            metavar="NAME=ALIAS",
            help="Take the server of a database of PgBouncer's from this alias of DATABASES; may be repeated.",
        )
        parser.add_argument(
            "--no-profile",
            action="store_true",
            help="Follow POOL of the settings alone: the control database is not asked.",
        )
        parser.add_argument("--write", action="store_true", help="Replace the files, with a backup of each beside it.")
        parser.add_argument("--reload", action="store_true", help="Send RELOAD, and say what it then has otherwise.")

    def handle(self, *args: Any, **options: Any) -> None:
        agent.stand_aside()
        target = _target(options["target"])
        try:
            self._config(target, options)
        except ConfigurationError as error:
            raise CommandError(f"{error}.") from None

    def _config(self, target: str, options: dict[str, Any]) -> None:
        module = files(target)
        filing = module.Filing(target, options["ini"], options["userlist"], dict(options["chosen"]))
        drafts = filing.draft(*(_bootstrap(target) if options["no_profile"] else _wanted(target)))
        lines = module.difference(drafts)
        for line in lines:
            self.stdout.write(line)
        for note in drafts.notes:
            self.stderr.write(f"Note: {note}.")
        if not lines:
            self.stdout.write(f"{drafts.ini.path} and {drafts.userlist.path} are as they should be.")
        elif options["write"]:
            backups = module.write(drafts)
            told = f" Before: {', '.join(map(str, backups))}." if backups else ""
            self.stdout.write(f"Written.{told}" + ("" if options["reload"] else " PgBouncer reads it at RELOAD."))
        else:
            self.stdout.write("Nothing is written without --write.")
        if options["reload"]:
            self._reload(*filing.reload(drafts))

    def _reload(self, found: list[str], notes: list[str]) -> None:
        for note in notes:
            self.stderr.write(f"Note: {note}, and was not told to.")
        for sentence in found:
            self.stderr.write(f"{sentence}.")
        if found:
            raise CommandError("After RELOAD not all is as the files should say; its log tells what it can't read.")
        self.stdout.write("Reloaded, and read back: all is as the files should say.")


def _target(given: str) -> str:
    known = led_targets()
    if given or len(known) == 1:
        return given or known[0]
    if not known:
        raise CommandError("POOLMGR['TARGETS'] declares no PgBouncer; see docs/targets.md.")
    raise CommandError(f"There are several; name one of {', '.join(known)}.")


def _wanted(target: str) -> tuple[PoolSpec, int]:
    """The settings and their revision. Raises ``ConfigurationError``."""
    try:
        with control_database():
            found = wishes(read_profiles(), "", {})
    except Exception as error:
        raise ConfigurationError(
            f"which profile holds is unknown: {sentence_of(error).rstrip('.')}; --no-profile follows the settings alone"
        ) from None
    if target in found.invalid:
        raise ConfigurationError(found.invalid[target])
    if (desired := found.desired.get(target)) is not None:
        return desired.spec, desired.revision
    return _bootstrap(target)


def _bootstrap(target: str) -> tuple[PoolSpec, int]:
    spec = bootstrap_spec(target)
    if spec is None:
        raise ConfigurationError(f"the settings of {target!r} are wrong: run manage.py check")
    return spec, 0


def _pair(text: str) -> tuple[str, str]:
    name, equals, alias = text.partition("=")
    if not (name and equals and alias):
        raise ArgumentTypeError(f"{text!r} is not NAME=ALIAS, such as app=default")
    return name, alias
