"""What a run came to, and which of its failures are the backend's own."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

#: Tests that fail in transaction mode by design, with the reason; docs/django-suite.md explains each.
EXPECTED = {
    "backends.tests.ThreadTests.test_default_connection_thread_local": (
        "compares the physical connections of three threads between their queries, where none holds one"
    ),
    "test_utils.tests.AssertNumQueriesUponConnectionTests.test_ignores_connection_configuration_queries": (
        "makes ensure_connection() query whenever no connection is held, as if each checkout were a connect"
    ),
}
#: Tests that hold a stopwatch: on a busy machine they fail now and then with either pool.
UNSTEADY = frozenset({"serializers.test_deserialization.TestDeserializer.test_crafted_xml_performance"})


@dataclass(frozen=True)
class Outcome:
    ran: int
    skipped: int
    seconds: float
    failed: dict[str, str]
    errors: dict[str, str]

    @classmethod
    def read(cls, path: Path) -> "Outcome":
        return cls(**json.loads(path.read_text()))

    @property
    def unsuccessful(self) -> dict[str, str]:
        """The tests that failed or had an error, with what they said."""
        return {**self.failed, **self.errors}

    def __str__(self) -> str:
        return (
            f"ran {self.ran}, failed {len(self.failed)}, errors {len(self.errors)}, skipped {self.skipped},"
            f" {self.seconds:.0f} s"
        )


def beyond(ours: Outcome, native: Outcome | None, expected: Iterable[str]) -> dict[str, str]:
    """What fails with ours alone and is not expected; ``native`` is None where it need not run."""
    known = {*expected, *UNSTEADY, *(native.unsuccessful if native else ())}
    return {test: said for test, said in ours.unsuccessful.items() if test not in known}


def modules_of(tests: Iterable[str]) -> list[str]:
    """The suite's modules that hold ``tests``; an error of a whole class reads ``setUpClass (module.tests.Class)``."""
    return sorted({test.rpartition("(")[2].partition(".")[0] for test in tests})
