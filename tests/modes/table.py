"""The table of docs/modes.md, as it stands there."""

from pathlib import Path

from tests.modes.conftest import ALONE, MODES

DOCUMENT = Path(__file__).parents[2] / "docs" / "modes.md"
#: Above the columns; the first tells the rows' names.
_HEAD = "| what a request does | alone | PgBouncer by session | by transaction | by statement |"


def expected() -> dict[str, dict[tuple[str, str], str]]:
    """By row, and our mode and PgBouncer's, the word; one that stands alone in its cell is that of all our modes."""
    lines = DOCUMENT.read_text().splitlines()
    found = {}
    for line in lines[lines.index(_HEAD) + 2 :]:
        if not line.startswith("| "):
            break
        name, *cells = [each.strip() for each in line.strip("|").split(" | ")]
        found[name] = {
            (ours, theirs): word
            for theirs, cell in zip((ALONE, *MODES), cells, strict=True)
            for ours, word in zip(MODES, _words(cell), strict=True)
        }
    return found


def _words(cell: str) -> list[str]:
    words = [each.strip() for each in cell.split("·")]
    return words * len(MODES) if len(words) == 1 else words
