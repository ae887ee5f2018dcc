"""The mutants of a source file: mutmut's operators on every expression that can change what the program does."""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.mutators import mutation_operators

_UNCHANGED_CALLS: Final = ("len", "isinstance", "cast", "TypeVar", "super", "Field", "field")
"""Calls whose arguments are not mutated: types, and the fields of records."""
_GUARD: Final = "strict"
"""An argument of `zip` that asserts what always holds, so that no test can notice its change."""

_CONTEXT: Final = 16
"""Characters of an expression that are shown on each side of a change."""


@dataclass(frozen=True)
class Mutant:
    """One changed expression."""

    path: str
    line: int
    lines: range
    """Lines of the statement, which a test must run to notice the change."""
    function: str
    """Qualified name of the outermost function; empty for a constant of the module."""
    constant: str
    """Name of the constant; empty in a function."""
    tree: cst.Module | cst.SimpleStatementLine
    """The whole file, or the assignment of the constant."""
    old: cst.CSTNode
    new: cst.CSTNode

    def make_source(self) -> str:
        """Return the changed file, or the changed assignment of the constant."""
        changed: Any = self.tree.deep_replace(self.old, self.new)
        return str(cst.Module([]).code_for_node(changed))

    def describe(self) -> str:
        """Return `old → new` on one line, without what both begin and end with."""
        old, new = (" ".join(cst.Module([]).code_for_node(each).split()) for each in (self.old, self.new))
        start = max(0, _count_equal(old, new) - _CONTEXT)
        end = max(0, _count_equal(old[::-1], new[::-1]) - _CONTEXT)
        end = min(end, len(old) - start, len(new) - start)
        return f"{old[start : len(old) - end]} → {new[start : len(new) - end]}"


def _count_equal(one: str, other: str) -> int:
    """Return how many characters two texts have in common at their start."""
    return next(
        (at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), min(len(one), len(other))
    )


def list_mutants(path: Path, root: Path) -> list[Mutant]:
    """Return every mutant of a file in the order of its lines."""
    wrapper = MetadataWrapper(cst.parse_module(path.read_text("utf-8")))
    finder = _MutantFinder(wrapper.module, str(path.relative_to(root)))
    wrapper.visit(finder)
    return finder.mutants


def find_code(source: str, path: str, function: str) -> types.CodeType | None:
    """Compile a source and return the code of one of its functions, by qualified name; None where it has none."""
    waiting = [compile(source, path, "exec", dont_inherit=True)]
    while waiting:
        code = waiting.pop()
        if code.co_qualname == function:
            return code
        waiting += [each for each in code.co_consts if isinstance(each, types.CodeType)]
    return None


class _MutantFinder(cst.CSTVisitor):  # type: ignore[misc]
    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self, module: cst.Module, path: str) -> None:
        self.mutants: list[Mutant] = []
        self._module = module
        self._path = path
        self._scopes: list[str] = []
        self._functions = 0
        self._statements: list[cst.CSTNode] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if self._is_unchanged(node):
            return False
        if isinstance(node, cst.ClassDef | cst.FunctionDef):
            if not self._functions:
                self._scopes.append(node.name.value)
            self._functions += isinstance(node, cst.FunctionDef)
        elif isinstance(node, cst.SimpleStatementLine):
            self._statements.append(node)
        self._add_mutants(node)
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        if isinstance(original_node, cst.ClassDef | cst.FunctionDef):
            self._functions -= isinstance(original_node, cst.FunctionDef)
            if not self._functions:
                self._scopes.pop()
        elif self._statements and self._statements[-1] is original_node:
            self._statements.pop()

    def _is_unchanged(self, node: cst.CSTNode) -> bool:
        """Return whether a node and all in it stay: types, decorators, defaults, imports, raised errors and prose."""
        if _is_guard(node) or isinstance(
            node, cst.Annotation | cst.Decorator | cst.Param | cst.Import | cst.ImportFrom | cst.Raise
        ):
            return True
        if isinstance(node, cst.SimpleString):
            return " " in node.value or node.value.startswith('"""') or node.value == '"utf-8"'
        if isinstance(node, cst.Call) and isinstance(node.func, cst.Name):
            return node.func.value in _UNCHANGED_CALLS
        if isinstance(node, cst.If) and isinstance(node.test, cst.Name) and node.test.value == "TYPE_CHECKING":
            return True
        if isinstance(node, cst.SimpleStatementLine) and not self._functions:
            # A class's own attributes are fields of records or part of types.
            return bool(self._scopes) or not _find_constant(node)
        return False

    def _add_mutants(self, node: cst.CSTNode) -> None:
        for kind, operator in mutation_operators:
            if isinstance(node, kind):
                for mutated in operator(node):
                    if not _is_guard_change(node, mutated):
                        self._add(node, mutated)

    def _add(self, node: cst.CSTNode, mutated: Any) -> None:
        position = self.get_metadata(PositionProvider, node, None)
        statement = self._statements[-1] if self._statements else node
        span = self.get_metadata(PositionProvider, statement, None) or position
        constant = "" if self._functions else _find_constant(statement)
        function = ".".join(self._scopes) if self._functions else ""
        if position is None or span is None or not (function or constant):
            return
        lines = range(span.start.line, span.end.line + 1)
        tree: Any = statement if constant else self._module
        self.mutants.append(Mutant(self._path, position.start.line, lines, function, constant, tree, node, mutated))


def _is_guard_change(old: cst.CSTNode, new: Any) -> bool:
    """Return whether two calls differ in nothing but the argument that asserts."""
    if not isinstance(old, cst.Call) or not isinstance(new, cst.Call) or old.func is not new.func:
        return False
    one, other = ([each for each in call.args if not _is_guard(each)] for call in (old, new))
    return len(one) == len(other) and all(each is same for each, same in zip(one, other, strict=True))


def _is_guard(node: cst.CSTNode) -> bool:
    return isinstance(node, cst.Arg) and node.keyword is not None and node.keyword.value == _GUARD


def _find_constant(node: cst.CSTNode) -> str:
    """Return the name that a statement of the module assigns a value to; empty for types and other statements."""
    if not isinstance(node, cst.SimpleStatementLine) or not isinstance(node.body[0], cst.Assign | cst.AnnAssign):
        return ""
    statement = node.body[0]
    target = statement.target if isinstance(statement, cst.AnnAssign) else statement.targets[0].target
    is_type = statement.value is None or isinstance(statement.value, cst.Subscript)
    if isinstance(statement.value, cst.Call) and isinstance(statement.value.func, cst.Name):
        is_type = statement.value.func.value in _UNCHANGED_CALLS
    return target.value if isinstance(target, cst.Name) and not is_type else ""


def iterate_sources(root: Path, patterns: tuple[str, ...]) -> Iterator[Path]:
    """Yield the files of the patterns, sorted, without empty packages."""
    for path in sorted({each for pattern in patterns for each in root.glob(pattern)}):
        if path.name != "__init__.py":
            yield path
