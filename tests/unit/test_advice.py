"""What to do: every verdict has an entry, and the runbook has the same words."""

from pathlib import Path

import pytest

from poolmgr.control.reporting.advice import ADVICE, OF_PROCESSES, Advice
from poolmgr.metrics.rules import RULES

RUNBOOK = Path(__file__).parents[2] / "docs" / "runbook.md"


def as_markdown(code: str, entry: Advice) -> str:
    look = "\n".join(f"- {each}" for each in entry.look)
    do = "\n".join(f"{at}. {each}" for at, each in enumerate(entry.do, 1))
    return f"### {entry.title}\n\n`{code}`: {entry.means}\n\nLook at:\n\n{look}\n\nDo:\n\n{do}\n"


def test_every_rule_has_its_entry_and_every_entry_its_rule() -> None:
    assert ADVICE.keys() == {rule.__name__ for rule in RULES} | OF_PROCESSES.keys()


@pytest.mark.parametrize("code", ADVICE)
def test_runbook_has_the_entry_word_for_word(code: str) -> None:
    assert as_markdown(code, ADVICE[code]) in RUNBOOK.read_text()
