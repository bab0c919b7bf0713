"""Commands speak English, as logs do, whatever the site's language: what they print is searched for, and read by scripts."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from poolmgr.control.reporting.spoken import in_english


class EnglishCommand(BaseCommand):
    def create_parser(self, prog_name: str, subcommand: str, **options: Any) -> CommandParser:
        with in_english():
            return super().create_parser(prog_name, subcommand, **options)

    def execute(self, *args: Any, **options: Any) -> str | None:
        with in_english():
            return super().execute(*args, **options)
