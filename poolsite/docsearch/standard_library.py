"""The docstrings of Python's standard library, read from its source without importing any of it."""

import ast
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TEST_FOLDERS = frozenset({"test", "tests", "idle_test", "__pycache__", "site-packages"})
Defined = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Docstring:
    module: str
    qualname: str
    kind: str
    signature: str
    line: int
    text: str


def docstrings(names: frozenset[str] | None = None) -> Iterator[Docstring]:
    """Every docstring of the library's public names, in a stable order, each qualified name once."""
    for name in sorted(names if names is not None else sys.stdlib_module_names):
        for module, path in _sources(name):
            seen: set[str] = set()
            for doc in _read(module, path):
                # A name defined twice (under `if sys.platform`) keeps its first docstring.
                if doc.qualname not in seen:
                    seen.add(doc.qualname)
                    yield doc


def _sources(name: str) -> Iterator[tuple[str, Path]]:
    root = Path(sysconfig.get_path("stdlib"))
    if _is_private(name):
        return
    single, package = root / f"{name}.py", root / name
    if single.is_file():
        yield name, single
    elif package.is_dir():
        for path in sorted(package.rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            if not _is_test(parts) and not any(map(_is_private, parts)):
                yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def _is_test(parts: tuple[str, ...]) -> bool:
    return any(part in TEST_FOLDERS or part.startswith("test_") for part in parts)


def _read(module: str, path: Path) -> Iterator[Docstring]:
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError:
        # lib2to3 ships files that are wrong on purpose.
        return
    yield from _walk(module, tree, "")


def _walk(module: str, node: Defined, qualname: str) -> Iterator[Docstring]:
    text = ast.get_docstring(node)
    # PostgreSQL's text holds every character but NUL.
    if text and text.strip() and "\0" not in text:
        line = 1 if isinstance(node, ast.Module) else node.lineno
        yield Docstring(module, qualname, _kind(node, qualname), _signature(node), line, text)
    # Functions' inner functions are nobody's documentation: only modules and classes are entered.
    if isinstance(node, (ast.Module, ast.ClassDef)):
        for child in _definitions(node.body):
            if _is_private(child.name):
                continue
            yield from _walk(module, child, f"{qualname}.{child.name}".lstrip("."))


def _definitions(body: list[ast.stmt]) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    for statement in body:
        if isinstance(statement, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield statement
        elif isinstance(statement, ast.If):
            yield from _definitions([*statement.body, *statement.orelse])
        elif isinstance(statement, ast.Try):
            handlers = [inner for handler in statement.handlers for inner in handler.body]
            yield from _definitions([*statement.body, *handlers, *statement.orelse])


def _kind(node: Defined, qualname: str) -> str:
    if isinstance(node, ast.Module):
        return "module"
    if isinstance(node, ast.ClassDef):
        return "class"
    return "method" if "." in qualname else "function"


def _signature(node: Defined) -> str:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return f"({ast.unparse(node.args)})"
    return ""
