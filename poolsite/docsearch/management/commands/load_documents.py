"""manage.py load_documents: fill the search with the docstrings of the standard library."""

from typing import Any

from django.core.management.base import BaseCommand

from poolsite.docsearch.loading import load_documents

BAR = 40


class Command(BaseCommand):
    help = "Load the docstrings of Python's standard library. Loads only what is new or changed."

    def handle(self, *args: Any, **options: Any) -> None:
        done = load_documents(self._bar if self.stdout.isatty() else self._line)
        self.stdout.write(
            f"{done.written + done.unchanged} documents: {done.written} written, {done.unchanged} unchanged, "
            f"{done.removed} removed"
        )

    def _bar(self, done: int, total: int) -> None:
        if total:
            full = BAR * done // total
            end = "\n" if done == total else ""
            self.stdout.write(f"\r  [{'#' * full}{' ' * (BAR - full)}] {done}/{total} documents", ending=end)
            self.stdout.flush()

    def _line(self, done: int, total: int) -> None:
        # Few lines for a log, not one a batch.
        if total and (done == total or done % 2500 == 0):
            self.stdout.write(f"  {done}/{total} documents")
