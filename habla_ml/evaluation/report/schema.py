"""The JSON Schema of a comparison, for readers without this package."""

from __future__ import annotations

import json

from habla_ml.evaluation.comparison.records import COMPARISON_FORMAT, Comparison


def build_comparison_schema() -> str:
    """Return the JSON Schema (draft 2020-12) of `Comparison.to_json`, as JSON text."""
    schema = Comparison.model_json_schema(mode="serialization")
    named = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:{COMPARISON_FORMAT.replace('/', ':')}",
        **schema,
    }
    return json.dumps(named, ensure_ascii=False, indent=1) + "\n"
