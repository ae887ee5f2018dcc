"""Decide whether a change of code changes what an asset computes: ``python -m tools.asset_code``.

`habla_ml/defs/code_versions.py` lists the version of each asset and the modules that decide its result. `asset_code.json`
next to this program has the versions and a digest of each module from the last decision. The digest is of the syntax
tree without docstrings and comments.

Without options the program lists the assets that need a decision and exits with 1 if there is one. Then either raise the
version of an asset and run it with `--record`, or state with `--same ASSET` that the same inputs give the same result.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import habla_ml
from habla_ml.defs.code_versions import ASSET_CODE, AssetCode

PACKAGE: Final = Path(habla_ml.__file__).parent
RECORD: Final = Path(__file__).with_name("asset_code.json")
_DIGEST_CHARS: Final = 16
_MODULE: Final = "tools.asset_code"


@dataclass(frozen=True)
class RecordedCode:
    """Versions and digests of a decision."""

    versions: Mapping[str, str]
    """By asset."""
    modules: Mapping[str, str]
    """Digest by module below `habla_ml`."""

    def write(self, path: Path) -> None:
        """Write it with a line for each entry, so that two branches seldom conflict."""
        value = {"modules": dict(sorted(self.modules.items())), "versions": dict(sorted(self.versions.items()))}
        path.write_text(json.dumps(value, indent=1) + "\n", "utf-8")


def read_record(path: Path = RECORD) -> RecordedCode:
    """Read the last decision."""
    return RecordedCode(**json.loads(path.read_text("utf-8")))


def read_present_code(assets: Mapping[str, AssetCode], package: Path = PACKAGE) -> RecordedCode:
    """Return what a decision about the present sources would record; raises `LookupError` for a module that is not there."""
    names = sorted({name for each in assets.values() for name in list_modules(each, package)})
    digests = {name: digest_source(_find_file(name, package).read_text("utf-8")) for name in names}
    return RecordedCode({name: each.version for name, each in assets.items()}, digests)


def list_modules(code: AssetCode, package: Path = PACKAGE) -> Iterator[str]:
    """Yield the modules of an asset, those inside its packages too."""
    for name in code.modules:
        folder = package.joinpath(*name.split("."))
        if not folder.is_dir():
            yield name
        for path in sorted(folder.rglob("*.py")):
            yield ".".join(path.relative_to(package).with_suffix("").parts)


def find_undecided(
    assets: Mapping[str, AssetCode], recorded: RecordedCode, present: RecordedCode, package: Path = PACKAGE
) -> dict[str, list[str]]:
    """Return asset → its modules that changed, for the assets whose version was not raised."""
    changed = {name for name, digest in present.modules.items() if recorded.modules.get(name) != digest}
    changed |= recorded.modules.keys() - present.modules.keys()
    found: dict[str, list[str]] = {}
    for asset, code in assets.items():
        listed = {*list_modules(code, package)} | {
            name
            for name in recorded.modules
            if any(name == each or name.startswith(f"{each}.") for each in code.modules)
        }
        if recorded.versions.get(asset) == code.version and (names := sorted(changed & listed)):
            found[asset] = names
    return found


@lru_cache(maxsize=1024)
def digest_source(source: str) -> str:
    """Return a digest of what a module does: comments, docstrings and layout do not change it."""
    return hashlib.sha256(json.dumps(_reduce(ast.parse(source))).encode()).hexdigest()[:_DIGEST_CHARS]


def _reduce(node: Any) -> Any:
    """Return a syntax tree as JSON values, equal for all versions of Python: empty fields are left out."""
    if isinstance(node, list):
        return [_reduce(each) for each in node if not _is_bare_text(each)]
    if isinstance(node, ast.AST):
        fields = ((name, _reduce(value)) for name, value in ast.iter_fields(node) if name != "kind")
        return [type(node).__name__, {name: value for name, value in fields if value not in (None, [])}]
    return node if isinstance(node, str | int | float | bool | None) else repr(node)


def _is_bare_text(node: Any) -> bool:
    """Return whether a statement is only a text: a docstring of a module, class, function or attribute."""
    is_constant = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return is_constant and isinstance(node.value.value, str)


def _find_file(name: str, package: Path) -> Path:
    path = package.joinpath(*name.split(".")).with_suffix(".py")
    if not path.is_file():
        raise LookupError(f"there is no module habla_ml.{name}; correct ASSET_CODE in habla_ml/defs/code_versions.py")
    return path


def explain(undecided: Mapping[str, Collection[str]]) -> str:
    """Return what to decide, and how."""
    lines = [f"{asset}: {', '.join(modules)}" for asset, modules in undecided.items()]
    return "\n".join(
        [
            "The code of these assets changed:",
            *lines,
            "If the same inputs now give another result, raise the version in habla_ml/defs/code_versions.py and run",
            f"  python -m {_MODULE} --record",
            "Otherwise run",
            f"  python -m {_MODULE} --same {' '.join(undecided)}",
        ]
    )


def main(arguments: Sequence[str] | None = None, path: Path = RECORD) -> int:
    """Print what needs a decision, or record one; return the exit code."""
    parser = argparse.ArgumentParser(description="Decide whether changed code changes what an asset computes.")
    parser.add_argument("--record", action="store_true", help="record the versions that were raised")
    parser.add_argument("--same", nargs="+", default=[], metavar="ASSET", help="these still compute the same")
    options = parser.parse_args(arguments)
    present = read_present_code(ASSET_CODE)
    undecided = find_undecided(ASSET_CODE, read_record(path), present) if path.exists() else {}
    left = {asset: names for asset, names in undecided.items() if asset not in options.same}
    if unknown := sorted(set(options.same) - ASSET_CODE.keys()):
        print(f"{', '.join(unknown)}: no such asset; choose one of {', '.join(ASSET_CODE)}")
        return 1
    if left:
        print(explain(left))
        return 1
    if options.record or options.same:
        present.write(path)
        print(f"recorded {len(present.versions)} assets and {len(present.modules)} modules in {path.name}")
    elif read_record(path) != present:
        print(f"versions were raised, or modules came or left; run\n  python -m {_MODULE} --record")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
