"""List the files that each extension of the project touches: ``python -m tools.extension_points``.

An extension is a metric, an engine, an export format or an annotation source: one new module and one row of a registry.
For every existing extension the program lists its module and each other file of the package that names it, by an import
or by its registered name. The smallest number of such files is the cost of a new extension.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import habla_ml

PACKAGE = Path(habla_ml.__file__).parent
_MAX_FILES_SHOWN = 3


@dataclass(frozen=True)
class ExtensionPoint:
    """One kind of extension."""

    kind: str
    registry: str
    """Path of the file with the registry, below the project's root."""
    find_extensions: Callable[[], Mapping[str, str]]
    """Returns registered name → module."""


def list_metrics() -> dict[str, str]:
    """Return the name and the module of each metric."""
    from habla_ml.evaluation.metrics.registry import METRICS

    return {each.name: each.measure.__module__ for each in METRICS}


def list_engines() -> dict[str, str]:
    """Return the name and the module of each local engine."""
    from habla_ml.transcription.registry import ENGINES

    return {name: each.module for name, each in ENGINES.items()}


def list_export_formats() -> dict[str, str]:
    """Return the name and the module of each export format."""
    from habla_ml.export.registry import EXPORTERS

    return {each.name: each.convert.__module__ for each in EXPORTERS}


def list_annotation_sources() -> dict[str, str]:
    """Return the name and the module of each annotation source."""
    from habla_ml.annotation.sources import SOURCES

    return {each.name: each.collect.__module__ for each in SOURCES}


EXTENSION_POINTS = (
    ExtensionPoint("metric", "habla_ml/evaluation/metrics/registry.py", list_metrics),
    ExtensionPoint("engine", "habla_ml/transcription/registry.py", list_engines),
    ExtensionPoint("export format", "habla_ml/export/registry.py", list_export_formats),
    ExtensionPoint("annotation source", "habla_ml/annotation/sources/__init__.py", list_annotation_sources),
)


def list_files_that_name(name: str, module: str) -> list[str]:
    """Return the files outside an extension's own module or package that import it or contain its name as a string.

    A name that a serving profile has too (`habla`) is not searched as a string.
    """
    from habla_ml.transcription.serving_profiles import SERVING_PROFILES

    names = () if name in SERVING_PROFILES else (name,)
    own = PACKAGE.parent / Path(*module.split("."))
    is_package = own.parent.name not in ("metrics", "transcription", "export", "sources")
    own_files = own.parent if is_package else own.with_suffix(".py")
    prefix = module.rpartition(".")[0] if is_package else module
    return [
        path.relative_to(PACKAGE.parent).as_posix()
        for path in sorted(PACKAGE.rglob("*.py"))
        if not path.is_relative_to(own_files) and any(_names_in(path, names, prefix))
    ]


def _names_in(path: Path, names: tuple[str, ...], module: str) -> Iterator[bool]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            imported = [node.module or "", *(f"{node.module}.{each.name}" for each in node.names)]
            yield any(each == module or each.startswith(f"{module}.") for each in imported)
        elif isinstance(node, ast.Constant):
            yield node.value in (*names, module)


def main() -> None:
    """Print every extension with the files that name it."""
    for point in EXTENSION_POINTS:
        print(f"\n{point.kind}: add one module, and one row in {point.registry}")
        for name, module in point.find_extensions().items():
            others = [each for each in list_files_that_name(name, module) if each != point.registry]
            shown = ", ".join(others) if len(others) <= _MAX_FILES_SHOWN else f"{len(others)} files"
            print(f"  {name}: {module}" + (f"; also named in {shown}" if others else ""))


if __name__ == "__main__":
    main()
