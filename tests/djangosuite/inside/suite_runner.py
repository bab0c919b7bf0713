"""Django's test runner, which also writes what became of each test to the file that the parent names."""

import json
import os
import time
from pathlib import Path
from typing import Any

from django.test import TestCase
from django.test.runner import DiscoverRunner

_given = json.loads(os.environ["DJANGO_SUITE"])

if _given["deatomic"]:
    # TestCase then flushes the tables as TransactionTestCase does, and its tests run outside of atomic().
    TestCase._databases_support_transactions = classmethod(lambda cls: False)


class Noting:
    """Mixed into a result class: each test that did not pass, by its name."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.noted: dict[str, dict[str, str]] = {"failed": {}, "errors": {}}

    def addFailure(self, test: Any, err: Any) -> None:
        super().addFailure(test, err)
        self.noted["failed"][test.id()] = self.failures[-1][1]

    def addError(self, test: Any, err: Any) -> None:
        super().addError(test, err)
        self.noted["errors"][test.id()] = self.errors[-1][1]

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
        super().addSubTest(test, subtest, err)
        if err is not None:
            failed = issubclass(err[0], test.failureException)
            known = self.failures if failed else self.errors
            self.noted["failed" if failed else "errors"][test.id()] = known[-1][1]

    def addUnexpectedSuccess(self, test: Any) -> None:
        super().addUnexpectedSuccess(test)
        self.noted["failed"][test.id()] = "unexpected success"


class Runner(DiscoverRunner):
    def get_resultclass(self) -> Any:
        base = super().get_resultclass() or self.test_runner.resultclass
        return type("NotingResult", (Noting, base), {})

    def run_suite(self, suite: Any, **kwargs: Any) -> Any:
        began = time.monotonic()
        result = super().run_suite(suite, **kwargs)
        outcome = {
            "ran": result.testsRun,
            "skipped": len(result.skipped),
            "seconds": time.monotonic() - began,
            **result.noted,
        }
        Path(_given["outcome"]).write_text(json.dumps(outcome))
        return result
