"""What scripts/messages gathers from the source, and which faults of a catalogue it names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import polib
import pytest

from tests.messages.catalogue import catalogues, compiled, merged, read, write
from tests.messages.faults import faults
from tests.messages.gathering import GatheringError, Message, gather, of_python, of_template


def texts(messages: Iterable[Message]) -> list[tuple[str | None, str, str]]:
    return [(message.context, message.text, message.plural) for message in messages]


@pytest.mark.long
def test_each_language_says_all_that_the_source_does() -> None:
    messages = gather()
    assert len(messages) > 500
    assert catalogues()
    assert [fault for path in catalogues() for fault in faults(messages, path)] == []


@pytest.mark.long
def test_python_s_messages_are_found_by_any_name() -> None:
    source = """
from django.utils.translation import gettext as _, gettext_lazy, ngettext as numbered, pgettext
from poolmgr.metrics.phrases import counted, phrase
_("one " "sentence")
gettext_lazy("later")
numbered("%(n)s thing", "%(n)s things", 3)
pgettext("month", "May")
phrase("%(who)s is full.", who="web")
counted(n, "%(n)s waits", "%(n)s wait")
_(variable)
other("none of it")
"""
    assert texts(of_python(source, "here.py")) == [
        (None, "one sentence", ""),
        (None, "later", ""),
        (None, "%(n)s thing", "%(n)s things"),
        ("month", "May", ""),
        (None, "%(who)s is full.", ""),
        (None, "%(n)s waits", "%(n)s wait"),
    ]


@pytest.mark.long
@pytest.mark.parametrize("text", ['f"{who} is full"', '"so " + much', '"%s" % who'])
def test_a_text_that_nobody_can_look_up_is_refused(text: str) -> None:
    with pytest.raises(GatheringError, match=r"here\.py:2"):
        list(of_python(f"from django.utils.translation import gettext as _\n_({text})", "here.py"))


@pytest.mark.long
def test_a_template_s_messages_are_those_that_django_looks_up() -> None:
    source = """{% load i18n %}{% if x %}{% translate "95% of it" %}{% endif %}{% translate "May" context "month" %}
{% blocktranslate count n=number with who=name trimmed %}
    {{ who }} waits
{% plural %}
    {{ n }} wait
{% endblocktranslate %}{% translate variable %}"""
    assert texts(of_template(source, "here.html")) == [
        (None, "95%% of it", ""),
        ("month", "May", ""),
        (None, "%(who)s waits", "%(n)s wait"),
    ]


MESSAGES = (
    Message("%(n)s of %(all)s in use", places=("a.py",)),
    Message("%(n)s request", "%(n)s requests", places=("a.py",)),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A catalogue of two messages that has no fault."""
    begun = polib.POFile()
    begun.metadata = {"Content-Type": "text/plain; charset=UTF-8", "Plural-Forms": "nplurals=2; plural=(n != 1);"}
    made = merged(MESSAGES, begun)
    made[0].msgstr = "%(n)s von %(all)s belegt"
    made[1].msgstr_plural = {0: "eine Anfrage %(n)s", 1: "%(n)s Anfragen"}
    write(made, tmp_path / "django.po")
    assert list(faults(MESSAGES, tmp_path / "django.po")) == []
    return tmp_path / "django.po"


def seed(path: Path, old: str, new: str) -> list[str]:
    """What is said of the catalogue once it has this instead of that."""
    path.write_text(path.read_text().replace(old, new))
    write(read(path), path)
    return list(faults(MESSAGES, path))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"%(n)s von %(all)s belegt"', '""', "there is no translation"),
        ("%(all)s belegt", "%(alle)s belegt", "the translation has other figures"),
        ("belegt", "belegt, 5 % frei", "the translation has a lonely percent sign"),
        ('msgstr[1] "%(n)s Anfragen"', 'msgstr[1] ""', "there is no translation"),
        ('msgstr[1] "%(n)s Anfragen"\n', "", "there are 1 plural forms instead of 2|there is no translation"),
        ("#, python-format\nmsgid", "#, python-format, fuzzy\nmsgid", "the translation is doubtful"),
    ],
    ids=["missing", "figures", "percent", "plural", "form", "fuzzy"],
)
def test_a_fault_of_a_translation_is_named(path: Path, old: str, new: str, said: str) -> None:
    found = seed(path, old, new)
    assert found
    assert re.match(said, found[0]), found


@pytest.mark.long
def test_what_the_source_no_longer_says_and_what_was_not_compiled_is_named(path: Path) -> None:
    assert [fault.partition(" ")[0] for fault in faults(MESSAGES[:1], path)] == ["django.po"]
    more = Message("new", places=("a.py",))
    assert [fault.partition(":")[0] for fault in faults((*MESSAGES, more), path)] == [
        "there is no translation",
        "django.po is not of this source",
    ]
    compiled(path).unlink()
    assert [fault.partition(" ")[0] for fault in faults(MESSAGES, path)] == ["django.mo"]


@pytest.mark.long
def test_what_was_translated_stays_so(path: Path) -> None:
    made = merged((Message("new", places=("b.py",)), *MESSAGES[:1]), read(path))
    assert [(entry.msgid, entry.msgstr) for entry in made] == [
        ("new", ""),
        ("%(n)s of %(all)s in use", "%(n)s von %(all)s belegt"),
    ]
