"""What is vendored is what the docs say: these versions, unchanged, with their licences."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
VENDOR = ROOT / "poolmgr/static/poolmgr/vendor"
_ROW = re.compile(
    r"^\| (?P<name>[^|]+) \| (?P<version>[^|]+) \| `(?P<file>[^`]+)` \| `(?P<hash>[0-9a-f]{64})` \| [^|]+ \|$", re.M
)


def rows() -> list[re.Match[str]]:
    return list(_ROW.finditer((ROOT / "docs/vendored.md").read_text()))


def test_each_file_is_told_and_is_as_it_is_told() -> None:
    told = {row["file"]: row["hash"] for row in rows()}
    there = {str(path.relative_to(VENDOR)): path for path in VENDOR.rglob("*") if path.is_file()}
    assert told.keys() == there.keys()
    assert {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in there.items()} == told


def test_each_script_is_of_the_version_that_is_told_and_has_its_licence_beside_it() -> None:
    scripts = [row for row in rows() if row["file"].endswith(".js")]
    assert scripts
    for row in scripts:
        assert row["version"] in (VENDOR / row["file"]).read_text()[:300]
        assert list((VENDOR / row["file"]).parent.glob("LICENSE*"))


def test_no_page_loads_anything_from_elsewhere() -> None:
    for template in (ROOT / "poolmgr/templates").rglob("*.html"):
        assert not re.search(r"""(src|href)=["'](https?:)?//""", template.read_text()), template
