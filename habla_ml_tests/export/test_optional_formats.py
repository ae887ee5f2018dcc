"""Formats that are off by default become assets and parts of a release by the settings only."""

from __future__ import annotations

import dagster as dg
import pytest

from habla_ml.definitions import build_definitions
from habla_ml.defs.jobs import RETRAIN, list_job_assets
from habla_ml.export.registry import EXPORTERS, list_asset_exporters
from habla_ml.settings import load_settings

OPTIONAL = {
    "onnx_model": ("HABLA_EXPORT__ONNX_QUANTISATION", "int8"),
    "ggml_model": ("HABLA_EXPORT__GGML_QUANTISATION", "q5_1"),
    "transformers_model": ("HABLA_EXPORT__CHECKPOINT_ARCHIVE", "true"),
}


@pytest.mark.parametrize("is_chosen", [False, True])
def test_only_the_settings_make_them_parts_of_a_release(is_chosen: bool) -> None:
    settings = load_settings("local", dict(OPTIONAL.values()) if is_chosen else {})
    graph = build_definitions(settings).resolve_asset_graph()
    names = {each.path[-1] for each in graph.get_all_asset_keys()}
    parents = {each.path[-1] for each in graph.get(dg.AssetKey("cdn_release")).parent_keys}
    for found in (names, parents, set(list_job_assets(RETRAIN, settings))):
        assert found & OPTIONAL.keys() == (OPTIONAL.keys() if is_chosen else set())
    chosen = {each.asset_name: each.build_options(settings.export).quantisation for each in EXPORTERS}
    made = {each.asset_name for each in list_asset_exporters(settings.export)}
    assert {name: chosen[name] for name in made & OPTIONAL.keys()} == (
        {"onnx_model": "int8", "ggml_model": "q5_1", "transformers_model": "float32"} if is_chosen else {}
    )
