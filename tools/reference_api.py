"""The generated page of the Python interface, from the docstrings of `habla_ml.api`. `tools.reference_pages` writes it."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from typing import Final

from habla_ml import api

_INTRODUCTION: Final = """\
The docstrings of `habla_ml.api`. [Python API](../python_api.md) has an example, and says what is stable."""
_SECTION: Final = re.compile(r"^(Args|Returns|Raises|Yields):\n", re.MULTILINE)
_ENTRY: Final = re.compile(r"^    (\w+): ((?:.+\n?)(?:^     +.+\n?)*)", re.MULTILINE)


def render_api() -> str:
    """Return the page of all names in `habla_ml.api.__all__`."""
    body = ast.parse(inspect.getsource(api)).body
    nodes = {each.name: each for each in body if isinstance(each, (ast.FunctionDef, ast.ClassDef))}
    lines = ["# Names of habla_ml.api", "", *_INTRODUCTION.splitlines(), ""]
    for name in sorted(api.__all__, key=str.lower):
        node = nodes[name]
        lines += [f"## {name}", ""]
        lines += _render_class(node) if isinstance(node, ast.ClassDef) else _render_function(node)
    return "\n".join(lines).rstrip() + "\n"


def _render_function(node: ast.FunctionDef) -> Iterator[str]:
    result = ast.unparse(node.returns) if node.returns else "None"
    yield from ("```python", f"{node.name}(", *_list_arguments(node.args), f") -> {result}", "```", "")
    summary, *sections = _SECTION.split(ast.get_docstring(node) or "")
    yield from (summary.strip(), "")
    for title, content in zip(sections[::2], sections[1::2], strict=True):
        heading = {"Args": "argument", "Raises": "error"}.get(title)
        if heading is None:
            yield from (f"{title}: {' '.join(content.split())}", "")
            continue
        yield from (f"| {heading} | {'meaning' if title == 'Args' else 'when'} |", "|---|---|")
        yield from (f"| `{name}` | {' '.join(text.split())} |" for name, text in _ENTRY.findall(content))
        yield ""


def _list_arguments(arguments: ast.arguments) -> Iterator[str]:
    """Yield a line for each argument; none of them has the forms that the interface does not use, such as `*args`."""
    without = len(arguments.args) - len(arguments.defaults)
    defaults = [*[None] * without, *arguments.defaults, *arguments.kw_defaults]
    for at, (each, default) in enumerate(zip([*arguments.args, *arguments.kwonlyargs], defaults, strict=True)):
        if at == len(arguments.args):
            yield "    *,"
        value = (
            "" if default is None else " = …" if ast.unparse(default).startswith("_") else f" = {ast.unparse(default)}"
        )
        yield f"    {ast.unparse(each)}{value},"


def _render_class(node: ast.ClassDef) -> Iterator[str]:
    yield from (ast.get_docstring(node) or "", "", "| attribute | type | meaning |", "|---|---|---|")
    for at, each in enumerate(node.body):
        if isinstance(each, ast.AnnAssign):
            after = node.body[at + 1] if at + 1 < len(node.body) else None
            meaning = inspect.cleandoc(str(ast.literal_eval(after.value))) if isinstance(after, ast.Expr) else ""
            yield f"| `{ast.unparse(each.target)}` | `{_cell(ast.unparse(each.annotation))}` | {meaning} |"
        elif isinstance(each, ast.FunctionDef):
            kind = ast.unparse(each.returns) if each.returns else ""
            yield f"| `{each.name}` | `{_cell(kind)}` | {ast.get_docstring(each)} |"
    yield ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
