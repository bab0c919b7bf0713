"""Phrases are texts in English that can be said in another language, also by whoever has them from another process."""

import copy
import pickle

import pytest
from django.utils import translation
from msgspec import Struct

from poolmgr.control.reporting.spoken import spoken
from poolmgr.metrics.decoding import Text, decode, encode
from poolmgr.metrics.phrases import (
    LONGEST,
    Phrase,
    as_phrase,
    bare,
    capital,
    counted,
    cut,
    joined,
    packed,
    phrase,
    unpacked,
)

FULL = counted(
    2, "%(who)s is full (%(n)s)", "%(who)s are full (%(n)s)", who=phrase("both %(role)s processes", role="web")
)
CATALOGUE = {
    "%(who)s is full (%(n)s)": "%(who)s ist voll (%(n)s)",
    "%(who)s are full (%(n)s)": "%(who)s sind voll (%(n)s)",
    "both %(role)s processes": "beide %(role)s-Prozesse",
    "%(n)s s": "%(n)s Sek.",
    "web": "Netz",
    "broken": "%(who)s und %(nobody)s",
}


@pytest.fixture
def german(monkeypatch: pytest.MonkeyPatch) -> None:
    """A catalogue of its own, so that the real one may say it otherwise."""

    def one(text: str) -> str:
        return CATALOGUE.get(text, text)

    def plural(text: str, many: str, number: int) -> str:
        return one(text if number == 1 else many)

    monkeypatch.setattr("poolmgr.control.reporting.spoken.gettext", one)
    monkeypatch.setattr("poolmgr.control.reporting.spoken.ngettext", plural)


def test_phrase_is_a_text_in_english() -> None:
    assert FULL == "both web processes are full (2)"
    assert f"{FULL}." == "both web processes are full (2)."
    assert phrase("100 % of it") == "100 % of it"
    assert phrase("p95 %(p95)s s", p95=0.5) == "p95 0.5 s"
    assert joined("; ", [FULL, "and more"]) == "both web processes are full (2); and more"
    assert joined("; ", []) == ""
    assert capital(FULL) == "Both web processes are full (2)"
    assert bare(phrase("%(said)s.", said=FULL)) == FULL


@pytest.mark.usefixtures("german")
def test_phrase_is_said_in_the_readers_language_with_all_that_is_in_it() -> None:  # P11
    assert spoken(FULL) == "beide web-Prozesse sind voll (2)"
    assert spoken(joined("; ", [FULL, bare(phrase("%(said)s.", said=FULL))])) == "; ".join([spoken(FULL)] * 2)
    assert spoken(capital(FULL)) == "Beide web-Prozesse sind voll (2)"
    # A name is no phrase, whatever the catalogue has by it.
    assert spoken("web") == "web"
    assert spoken(as_phrase("web")) == "Netz"
    assert spoken("") == spoken(as_phrase("")) == ""


@pytest.mark.usefixtures("german")
def test_figures_are_written_as_the_reader_writes_them() -> None:
    with translation.override("de"):
        assert spoken(phrase("%(n)s s", n=1.5)) == "1,5 Sek."
        assert spoken(phrase("%(n)s s", n=12345)) == "12.345 Sek."


@pytest.mark.usefixtures("german")
def test_catalogue_that_names_what_is_not_there_leaves_the_phrase_in_english() -> None:
    assert spoken(Phrase("broken", {"who": "ann"})) == "broken"


@pytest.mark.parametrize("text", [FULL, bare(FULL), capital(FULL), joined("; ", [FULL, FULL]), phrase("ok"), "plain"])
def test_phrase_that_was_packed_is_the_same_again(text: str) -> None:
    plain = packed(text)
    assert type(plain) is str
    again = as_phrase(plain)
    assert again == text
    assert spoken(again) == spoken(text)
    assert unpacked(text) is text


class Told(Struct):
    said: Text


def test_phrase_goes_through_a_report_of_a_process() -> None:
    found = decode(Told, encode(Told(FULL)))
    assert type(found.said) is str
    assert as_phrase(found.said).parts["who"] == "both web processes"
    assert decode(Told, encode(Told(phrase("the server is full")))).said == "the server is full"


@pytest.mark.parametrize(
    "text",
    [
        '{"form": ',
        '{"form": 1}',
        '{"form": "%(a)s", "parts": {"b": 1}}',
        '{"form": "%(a)s", "parts": {"a": [1]}}',
        '{"form": "%(a)s", "parts": 3}',
        '{"form": "a", "many": "b", "number": "c"}',
        '{"form": "a", "trim": 7}',
        '{"form": "%(a)d", "parts": {"a": "x"}}',
        '{"form": "' + "x" * LONGEST + '"}',
        '{"form": ' * 500,
    ],
)
def test_what_somebody_wrote_that_is_no_phrase_is_a_text(text: str) -> None:
    assert unpacked(text) == text
    assert type(unpacked(text)) is str
    assert spoken(text) == text


def test_phrase_within_phrases_without_end_is_a_text() -> None:
    deep = FULL
    for _ in range(20):
        deep = phrase("%(a)s", a=deep)
    assert unpacked(packed(deep)) == packed(deep)


def test_phrase_that_is_too_long_for_a_row_is_a_text() -> None:
    assert cut(FULL, 500) is FULL
    assert cut(FULL, 4) == "both"
    assert type(cut(FULL, 4)) is str


def test_phrase_can_be_copied() -> None:
    for again in (copy.copy(FULL), copy.deepcopy(FULL), pickle.loads(pickle.dumps(FULL))):
        assert again == FULL
        assert again.parts == FULL.parts
