"""YAML as people mean it, for every file that they write and every environment variable.

YAML 1.1 reads `no` as false, `010` as 8 and `12:30` as 750, and keeps the last of two equal keys. This loader follows
YAML 1.2 there: only `true` and `false` are truth values, and the other three stay text, which a setting of another type
converts or refuses. A repeated key is an error. A date without quotes is a date.
"""

from __future__ import annotations

import re
from typing import Any, Final

import yaml

_BOOL_TAG: Final = "tag:yaml.org,2002:bool"
_INT_TAG: Final = "tag:yaml.org,2002:int"
_FLOAT_TAG: Final = "tag:yaml.org,2002:float"
_TIME_TAG: Final = "tag:yaml.org,2002:timestamp"
_REPLACED_TAGS: Final = frozenset({_BOOL_TAG, _INT_TAG, _FLOAT_TAG})
_TRUTH_VALUE: Final = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
_INTEGER: Final = re.compile(r"^[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F]+)$")
_FLOAT: Final = re.compile(
    r"^(?:[-+]?(?:[0-9][0-9_]*)?\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*\.(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)


class RepeatedKeyError(yaml.YAMLError):
    """A mapping has a key twice. The message gives lines only, because a key can be the name of a person."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"lines {first} and {second} give the same key; remove one of them")


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = {  # noqa: RUF012 (PyYAML's own way to state them)
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in _REPLACED_TAGS]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            name, line = (key.tag, key.value), key.start_mark.line + 1
            if name in lines:
                raise RepeatedKeyError(lines[name], line)
            lines[name] = line
        return node

    def construct_time(self, node: yaml.ScalarNode) -> Any:
        """Return a date or time; one that no calendar has stays text, for the message of the setting."""
        try:
            return self.construct_yaml_timestamp(node)
        except ValueError:
            return self.construct_yaml_str(node)


_Loader.add_implicit_resolver(_BOOL_TAG, _TRUTH_VALUE, list("tTfF"))
_Loader.add_implicit_resolver(_INT_TAG, _INTEGER, list("-+0123456789"))
_Loader.add_implicit_resolver(_FLOAT_TAG, _FLOAT, list("-+.0123456789"))
_Loader.add_constructor(_TIME_TAG, _Loader.construct_time)


def load_yaml(text: str) -> Any:
    """Return the value of a YAML text; raise `yaml.YAMLError` if it is not YAML or repeats a key."""
    return yaml.load(text, _Loader)  # noqa: S506 (a safe loader)


def find_entry_lines(text: str, key: str) -> list[int]:
    """Return the line, counted from 1, on which each entry of the list under a top-level key starts."""
    root = yaml.compose(text, _Loader)
    pairs = root.value if isinstance(root, yaml.MappingNode) else []
    lists = [below for name, below in pairs if name.value == key and isinstance(below, yaml.SequenceNode)]
    return [each.start_mark.line + 1 for below in lists for each in below.value]
