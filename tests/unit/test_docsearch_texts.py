"""What is read from the standard library's source."""

import pytest

from poolsite.docsearch.standard_library import docstrings


def read(*names: str):
    return {f"{doc.module}.{doc.qualname}".rstrip("."): doc for doc in docstrings(frozenset(names))}


@pytest.mark.long
def test_thousands_each_name_once():
    found = list(docstrings())
    assert len(found) > 4000
    assert len({(doc.module, doc.qualname) for doc in found}) == len(found)
    assert max(len(doc.module) for doc in found) <= 100
    assert max(len(doc.qualname) for doc in found) <= 150


def test_modules_classes_functions_methods():
    found = read("json", "tempfile")
    assert found["json"].kind == "module"
    assert found["json.decoder.JSONDecoder"].kind == "class"
    assert found["json.decoder.JSONDecoder.decode"].kind == "method"
    mkdtemp = found["tempfile.mkdtemp"]
    assert (mkdtemp.kind, mkdtemp.signature) == ("function", "(suffix=None, prefix=None, dir=None)")
    assert "temporary" in mkdtemp.text
    assert mkdtemp.line > 1


def test_private_names_and_tests_stay_out():
    names = read("unittest", "asyncio", "_pydecimal")
    assert "unittest.mock.Mock" in names
    assert not [name for name in names if "test.test_" in name or "._" in name.replace(".__", "")]


def test_same_order_every_time():
    assert list(docstrings(frozenset({"json", "re"}))) == list(docstrings(frozenset({"re", "json"})))
