"""The command: each language's catalogue follows the source, or, asked so, is only checked."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import polib
from django.conf import settings

from tests.messages.catalogue import LOCALE, catalogues, merged, read, write
from tests.messages.faults import faults
from tests.messages.gathering import ROOT, GatheringError, Message, gather


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="scripts/messages", description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="change nothing; exit with 1 where something is to be mended"
    )
    parser.add_argument("--add", metavar="LANGUAGE", help="begin the catalogue of another language, such as fr")
    given = parser.parse_args(arguments)
    if not settings.configured:
        # The parser of templates asks for some.
        settings.configure()
    try:
        messages = gather()
    except GatheringError as wrong:
        print(wrong)
        return 1
    if given.add and not given.check:
        write(_empty(given.add), LOCALE / given.add / "LC_MESSAGES" / "django.po")
    return max(_follow(path, messages, given.check) for path in catalogues())


def _follow(path: Path, messages: Sequence[Message], check: bool) -> int:
    if not check:
        write(merged(messages, read(path)), path)
    found = list(faults(messages, path))
    for fault in found:
        print(f"{path.parent.parent.name}: {fault}")
    print(f"{path.relative_to(ROOT)}: {len(messages)} messages, {len(found)} to be mended")
    return 1 if found and check else 0


def _empty(language: str) -> polib.POFile:
    made = polib.POFile()
    made.metadata = {
        "Project-Id-Version": "poolmgr",
        "Language": language,
        "MIME-Version": "1.0",
        "Content-Type": "text/plain; charset=UTF-8",
        "Content-Transfer-Encoding": "8bit",
        "Plural-Forms": "nplurals=2; plural=(n != 1);",
    }
    return made


if __name__ == "__main__":
    sys.exit(main())
