"""What is to be translated: each message that the source of poolmgr marks, in Python and in templates."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from django.template import Engine, Node
from django.template.base import FilterExpression, Template, Variable
from django.templatetags.i18n import BlockTranslateNode, TranslateNode

ROOT = Path(__file__).parents[2]

#: Which argument is what, of each function that marks a message.
_TEXT, _PLURAL, _CONTEXT = "text", "plural", "context"
_MARKS = {
    **dict.fromkeys(("gettext", "gettext_lazy", "gettext_noop", "phrase"), (_TEXT,)),
    **dict.fromkeys(("ngettext", "ngettext_lazy"), (_TEXT, _PLURAL)),
    **dict.fromkeys(("pgettext", "pgettext_lazy"), (_CONTEXT, _TEXT)),
    **dict.fromkeys(("npgettext", "npgettext_lazy"), (_CONTEXT, _TEXT, _PLURAL)),
    # Its first is the number.
    "counted": ("", _TEXT, _PLURAL),
}


#: What poolmgr's templates load.
_LIBRARIES = {
    "i18n": "django.templatetags.i18n",
    "static": "django.templatetags.static",
    "admin_urls": "django.contrib.admin.templatetags.admin_urls",
}


class GatheringError(Exception):
    """The source marks what can't be translated, such as a text that is put together before it is looked up."""


@dataclass(frozen=True, slots=True)
class Message:
    text: str
    plural: str = ""
    context: str | None = None
    #: Files, relative to the root.
    places: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str | None, str]:
        return self.context, self.text


def gather(root: Path = ROOT) -> list[Message]:
    """All of poolmgr's messages, each once, in the order of their files. Raises GatheringError."""
    found: dict[tuple[str | None, str], Message] = {}
    for path in sorted((root / "poolmgr").rglob("*")):
        place = path.relative_to(root)
        if path.suffix == ".py" and "migrations" not in place.parts:
            _add(found, of_python(path.read_text(), str(place)))
        elif path.suffix == ".html":
            _add(found, of_template(path.read_text(), str(place)))
    return list(found.values())


def _add(found: dict[tuple[str | None, str], Message], messages: Iterable[Message]) -> None:
    for message in messages:
        known = found.setdefault(message.key, message)
        if known.plural and message.plural and known.plural != message.plural:
            raise GatheringError(f"{message.places[0]}: “{message.text}” has another plural in {known.places[0]}")
        places = tuple(dict.fromkeys(known.places + message.places))
        found[message.key] = replace(known, plural=known.plural or message.plural, places=places)


# -- Python ------------------------------------------------------------------------------------------------------------


def of_python(source: str, place: str) -> Iterator[Message]:
    """The messages that a module marks, whatever name it imported the marking function by."""
    tree = ast.parse(source)
    names = {
        alias.asname or alias.name: alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    for call in sorted(calls, key=lambda node: (node.lineno, node.col_offset)):
        if marks := _MARKS.get(_called(call, names)):
            yield from _marked(call, marks, place)


def _called(node: ast.Call, names: dict[str, str]) -> str:
    if isinstance(node.func, ast.Name):
        return names.get(node.func.id, "")
    return node.func.attr if isinstance(node.func, ast.Attribute) else ""


def _marked(node: ast.Call, marks: tuple[str, ...], place: str) -> Iterator[Message]:
    parts = {}
    for mark, argument in zip(marks, node.args, strict=False):
        if isinstance(argument, ast.JoinedStr | ast.BinOp):
            raise GatheringError(f"{place}:{node.lineno}: the text is put together before it is looked up")
        if mark and isinstance(argument, ast.Constant) and isinstance(argument.value, str):
            parts[mark] = argument.value
    # What a variable holds was marked where it was written.
    if _TEXT in parts:
        yield Message(parts[_TEXT], parts.get(_PLURAL, ""), parts.get(_CONTEXT), (place,))


# -- Templates ---------------------------------------------------------------------------------------------------------


def of_template(source: str, place: str) -> Iterator[Message]:
    """The messages of a template, as Django's own parser reads it, so that they are those it looks up."""
    engine = Engine(libraries=_LIBRARIES)
    for node in Template(source, engine=engine).nodelist.get_nodes_by_type(Node):
        if isinstance(node, BlockTranslateNode):
            yield _of_block(node, place)
        elif isinstance(node, TranslateNode) and isinstance(text := _literal(node.filter_expression.var), str):
            # Percent signs are doubled before they are looked up.
            yield Message(text.replace("%", "%%"), "", _context(node.message_context), (place,))


def _of_block(node: BlockTranslateNode, place: str) -> Message:
    text, _ = node.render_token_list(node.singular)
    plural, _ = node.render_token_list(node.plural) if node.plural else ("", [])
    return Message(text, plural, _context(node.message_context), (place,))


def _context(given: FilterExpression | None) -> str | None:
    return None if given is None else str(given.var)  # which is the text itself, where it is one


def _literal(variable: object) -> str | None:
    return variable.literal if isinstance(variable, Variable) and isinstance(variable.literal, str) else None
