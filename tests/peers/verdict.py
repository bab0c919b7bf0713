"""What differs between a library's suite on ours and on its own classes, and what of that is known, with its reason."""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.djangosuite.compare import Outcome

FOLDER = Path(__file__).parent / "differing"


class ListError(Exception):
    """The list of what differs is of no use; says where."""


@dataclass(frozen=True)
class Listed:
    """The reason why a test differs. Where times decide, it does so but sometimes, and may pass."""

    why: str
    sometimes: bool = False


@dataclass(frozen=True)
class Verdict:
    """``unknown`` fail with ours alone and are not in the list; ``known`` fail and are; ``stale`` are in it and don't."""

    unknown: dict[str, str]
    known: dict[str, str]
    stale: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not self.unknown and not self.stale


def differing(name: str) -> dict[str, Listed]:
    """The tests of a suite that fail on ours on purpose, or for a cause that is told, each with the reason."""
    path = FOLDER / f"{name}.toml"
    found: dict[str, Listed] = {}
    for group in tomllib.loads(path.read_text()).get("differs", ()) if path.exists() else ():
        if not group.get("why", "").strip() or not group.get("tests"):
            raise ListError(f"{path}: each [[differs]] has a why and tests, which {group} lacks")
        for test in group["tests"]:
            if test in found:
                raise ListError(f"{path}: {test} is there twice")
            found[test] = Listed(group["why"], group.get("sometimes", False))
    return found


def judge(ours: Outcome, bare: Outcome, listed: Mapping[str, Listed], whole: bool) -> Verdict:
    """``whole`` says that everything in the list was asked to run."""
    beyond = {test: said for test, said in ours.unsuccessful.items() if test not in bare.unsuccessful}
    named = {test: name for test in beyond if (name := _name_in(listed, test))}
    steady = {name for name, each in listed.items() if not each.sometimes}
    return Verdict(
        unknown={test: said for test, said in beyond.items() if test not in named},
        known={test: listed[name].why for test, name in named.items()},
        stale=tuple(sorted(steady - set(named.values()))) if whole else (),
    )


def _name_in(listed: Mapping[str, Listed], test: str) -> str:
    """A name in the list stands for all parameters of a test where it has none."""
    return next((name for name in (test, test.partition("[")[0]) if name in listed), "")


def together(outcomes: Iterable[Outcome]) -> Outcome:
    """Of several runs as if they had been one."""
    made = Outcome(0, 0, 0.0, {}, {})
    for each in outcomes:
        made = Outcome(
            made.ran + each.ran,
            made.skipped + each.skipped,
            made.seconds + each.seconds,
            {**made.failed, **each.failed},
            {**made.errors, **each.errors},
        )
    return made
