import shutil
import subprocess
import sys
import warnings

import dagster as dg
import pytest

from habla_ml.corpus.conventions import load_conventions
from habla_ml.definitions import build_definitions
from habla_ml_tests.testing.deployment_settings import PROJECT

ASSETS = {
    "uploaded_clips",
    "raw_recordings",
    "annotated_corpus",
    "review_queue",
    "splits",
    "corpus_report",
    "fine_tuned_checkpoint",
    "ctranslate2_model",
    "wer_report",
    "engine_comparison",
    "recipe_sweep",
    "coreml_zip",
    "cdn_release",
    "channel_signatures",
    "released_model_quality",
    "storage_cleanup",
    "erased_contributors",
    "loop_status",
}


@pytest.mark.parametrize("clips", [0, 4])
def test_the_report_waits_for_the_formats_of_which_it_decodes_a_sample(deployment, clips):
    evaluation = deployment.settings.evaluation.model_copy(update={"format_clips": clips})
    export = deployment.settings.export.model_copy(update={"onnx_quantisation": "int8", "checkpoint_archive": True})
    settings = deployment.settings.model_copy(update={"evaluation": evaluation, "export": export})
    graph = build_definitions(settings).resolve_asset_graph()
    parents = {key.to_user_string() for key in graph.get(dg.AssetKey("wer_report")).parent_keys}
    assert parents == {"splits", "ctranslate2_model", *(("coreml_zip", "onnx_model") if clips else ())}


def test_the_graph_has_these_assets_and_no_superseded_dagster_calls(deployment):
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        for category in ("SupersessionWarning", "BetaWarning", "PreviewWarning"):
            warnings.simplefilter("error", getattr(dg, category))
        definitions = build_definitions(deployment.settings)
        dg.Definitions.validate_loadable(definitions)
    assert {key.to_user_string() for key in definitions.resolve_all_asset_keys()} == ASSETS


@pytest.mark.long
def test_the_page_about_the_architecture_names_everything_that_the_ui_shows(deployment):
    every_format = {"onnx_quantisation": "int8", "ggml_quantisation": "q8_0", "checkpoint_archive": True}
    export = deployment.settings.export.model_copy(update=every_format)
    definitions = build_definitions(deployment.settings.model_copy(update={"export": export}))
    repository = definitions.get_repository_def()
    shown = {
        *(key.to_user_string() for key in definitions.resolve_all_asset_keys()),
        *(each.name for each in (*repository.sensor_defs, *repository.schedule_defs, *repository.get_all_jobs())),
    }
    page = (PROJECT / "docs" / "architecture.md").read_text("utf-8")
    assert [name for name in sorted(shown) if f"`{name}`" not in page and not name.startswith("__")] == []


def test_the_code_location_loads_without_the_recordings_folder_and_reports_it(deployment):
    shutil.rmtree(deployment.recordings)
    for sensor in ("new_recordings", "new_corrections"):
        assert "does not exist; create it" in deployment.tick(sensor).skip_reason.skip_message
    checks = {each.node_def.name: each for each in build_definitions(deployment.settings).asset_checks}
    found = checks["raw_recordings_recordings_folder_exists"]()
    assert not found.passed
    assert str(deployment.recordings) in found.description


def test_every_asset_has_description_owners_kinds_and_code_version(deployment):
    for spec in deployment.definitions.resolve_all_asset_specs():
        assert len(spec.description or "") > 80, spec.key
        assert spec.owners, spec.key
        assert spec.kinds, spec.key
        assert spec.group_name in {"corpus", "models", "releases", "operations"}
        assert spec.code_version, spec.key


def test_changed_conventions_change_the_code_version_of_the_corpus_only(deployment, tree):
    def versions(settings) -> dict:
        return {each.key: each.code_version for each in build_definitions(settings).resolve_all_asset_specs()}

    conventions = deployment.settings.corpus.conventions
    other = conventions.with_name("orthographic-v2.yaml")
    changed = deployment.settings.model_copy(
        update={"corpus": deployment.settings.corpus.model_copy(update={"conventions": other})}
    )
    before, after = versions(deployment.settings), versions(changed)
    assert [key for key in before if before[key] != after[key]] == [dg.AssetKey("annotated_corpus")]
    assert before[dg.AssetKey("annotated_corpus")].endswith(f"-{load_conventions(conventions).digest[:16]}")


@pytest.mark.long
def test_loading_the_code_location_imports_no_heavy_package(deployment):
    heavy = {"torch", "transformers", "coremltools", "ctranslate2", "matplotlib", "dagster_aws", "evaluate"}
    code = (
        "import sys; from habla_ml.definitions import build_definitions; from habla_ml.settings import load_settings;"
        "build_definitions(load_settings(sys.argv[1], {})).get_repository_def(); print(*sys.modules)"
    )
    profile = deployment.folder / "configs" / "test.yaml"
    done = subprocess.run([sys.executable, "-c", code, str(profile)], check=True, capture_output=True, text=True)
    assert heavy & set(done.stdout.split()) == set()


def test_every_job_has_a_time_limit(deployment):
    for job in deployment.definitions.resolve_all_job_defs():
        if not job.name.startswith("__"):
            assert int(job.run_tags["dagster/max_runtime"]) > 0
