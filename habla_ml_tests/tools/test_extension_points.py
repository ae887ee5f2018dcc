"""A new metric, engine, export format or annotation source is one new module and one row of a registry.

Each test copies the package, adds one module, edits one file and uses the extension in a new process, from end to end.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from tools.extension_points import EXTENSION_POINTS, PACKAGE, list_files_that_name

ROOT = PACKAGE.parent


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a folder with a copy of the package."""
    shutil.copytree(PACKAGE, tmp_path / "habla_ml", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def add_extension(project: Path, module: str, source: str, registry: str, edits: dict[str, str]) -> None:
    """Write one new module, and edit one existing file by replacing each key by its value."""
    path = project / module
    assert not path.exists()
    path.write_text(dedent(source), "utf-8")
    text = (project / registry).read_text("utf-8")
    for old, new in edits.items():
        assert text.count(old) >= 1, old
        text = text.replace(old, new, 1)
    (project / registry).write_text(text, "utf-8")


def run_python(project: Path, code: str) -> str:
    """Run code with the copied package and return its output."""
    environment = {**os.environ, "PYTHONPATH": f"{project}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-c", dedent(code)]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("point", EXTENSION_POINTS, ids=lambda point: point.kind)
def test_an_extension_names_at_most_one_file_besides_its_registry(point) -> None:
    counts = {
        name: len({*list_files_that_name(name, module), point.registry})
        for name, module in point.find_extensions().items()
    }
    assert min(counts.values()) <= 2, counts


@pytest.mark.slow
def test_a_new_metric_appears_in_the_comparison_the_scoreboard_and_the_report(project: Path) -> None:
    add_extension(
        project,
        "habla_ml/evaluation/metrics/empty_hypotheses.py",
        '''
        """Share of the test clips with an empty hypothesis."""

        from habla_ml.evaluation.metrics.metric import Metric, MetricTable
        from habla_ml.evaluation.scoring.statistics import Interval


        def _measure(inputs):
            shares = [sum(not text for text in model.texts) / len(model.texts) for model in inputs.test.models]
            return MetricTable([Interval(each, each, each) for each in shares])


        EMPTY_HYPOTHESES = Metric("empty_hypotheses", "empty hypotheses", "share", _measure)
        ''',
        "habla_ml/evaluation/metrics/registry.py",
        {
            "from habla_ml.evaluation.metrics.error_rates": (
                "from habla_ml.evaluation.metrics.empty_hypotheses import EMPTY_HYPOTHESES\n"
                "from habla_ml.evaluation.metrics.error_rates"
            ),
            "    WER,\n    ORTHOGRAPHIC_WER,": "    EMPTY_HYPOTHESES,\n    WER,\n    ORTHOGRAPHIC_WER,",
        },
    )
    output = run_python(
        project,
        """
        from habla_ml.defs.models.comparison_metadata import build_comparison_metadata
        from habla_ml.evaluation.report.content import ReportContent
        from habla_ml.evaluation.report.html import render_html
        from habla_ml.evaluation.report.markdown import render_markdown
        from habla_ml.evaluation.report.scoreboard import build_scoreboard
        from habla_ml.settings import AcceptableSettings
        from habla_ml_tests.testing.simulated_hypotheses import make_comparison, make_utterances

        comparison = make_comparison(make_utterances(4, 5), {"base": 1.0, "candidate": 0.0})
        print([round(each.metrics["empty_hypotheses"].value, 2) for each in comparison.models])
        print([row.metric for row in build_scoreboard(comparison, AcceptableSettings())][0])
        content = ReportContent(comparison)
        print("empty hypotheses" in render_markdown(content), "empty hypotheses" in render_html(content))
        metadata = build_comparison_metadata(comparison, AcceptableSettings())
        print(any("empty hypotheses" in str(value.value) for value in metadata.values() if hasattr(value, "value")))
        """,
    )
    shares, first_row, rendered, in_dagster = output.splitlines()
    assert shares == "[0.0, 0.0]"
    assert first_row == "empty hypotheses"
    assert rendered == "True True"
    assert in_dagster == "True"


@pytest.mark.long
def test_a_new_engine_decodes_in_its_own_process(project: Path) -> None:
    add_extension(
        project,
        "habla_ml/transcription/constant_engine.py",
        '''
        """An engine that recognises the same words in every clip."""

        from habla_ml.transcription.engine import Hypothesis


        class ConstantEngine:
            """The engine."""

            model_format = "checkpoint"
            supported_options = frozenset()
            max_batch_clips = 1
            parallel_batches = 1

            def __init__(self, model_folder, options, device, cpu_threads):
                self.text = (model_folder / "text.txt").read_text()

            def transcribe(self, clips):
                return [Hypothesis(each.audio_sha256, self.text, 0.1, each.duration_s) for each in clips]
        ''',
        "habla_ml/transcription/registry.py",
        {
            '    "transformers": RegisteredClass(': (
                '    "constant": RegisteredClass("habla_ml.transcription.constant_engine", "ConstantEngine"),\n'
                '    "transformers": RegisteredClass('
            )
        },
    )
    (project / "model").mkdir()
    (project / "model" / "text.txt").write_text("buenos días")
    output = run_python(
        project,
        """
        from contextlib import closing
        from pathlib import Path
        from habla_ml.transcription.open import open_transcriber
        from habla_ml.transcription.options import DecodingOptions
        from habla_ml_tests.testing.simulated_hypotheses import make_utterances

        with closing(open_transcriber(DecodingOptions(engine="constant"), Path("model"), "cpu")) as transcriber:
            print({each.text for each in transcriber.transcribe(make_utterances(1, 3))})
        """,
    )
    assert output.strip() == "{'buenos días'}"


@pytest.mark.long
def test_a_new_export_format_is_converted_published_and_offered_as_an_asset(project: Path) -> None:
    add_extension(
        project,
        "habla_ml/export/weights_list.py",
        '''
        """The names of a checkpoint's files, as an export format."""

        from habla_ml.export.exporter import ConvertedModel, ExportAsset, Exporter


        def _convert(checkpoint, folder, options, progress):
            target = folder / "files.txt"
            target.write_text("\\\\n".join(sorted(each.name for each in checkpoint.iterdir())))
            return ConvertedModel(target, ())


        WEIGHTS_LIST = Exporter(
            "weights_list",
            "list of weights",
            "archive",
            ("none",),
            _convert,
            asset=ExportAsset("weights_list_txt", "Names of the files.", frozenset({"txt"})),
        )
        ''',
        "habla_ml/export/registry.py",
        {
            "from habla_ml.export.ggml import GGML": (
                "from habla_ml.export.ggml import GGML\nfrom habla_ml.export.weights_list import WEIGHTS_LIST"
            ),
            "GGML, ONNX, TRANSFORMERS)": "GGML, ONNX, TRANSFORMERS, WEIGHTS_LIST)",
        },
    )
    versions = project / "habla_ml/defs/code_versions.py"  # a new asset also states the version of its code
    row = '    "weights_list_txt": AssetCode("1", ("export.weights_list",)),\n'
    versions.write_text(versions.read_text("utf-8").replace('    "wer_report"', f'{row}    "wer_report"', 1), "utf-8")
    (project / "checkpoint").mkdir()
    (project / "checkpoint" / "model.bin").write_bytes(b"0")
    output = run_python(
        project,
        f"""
        from pathlib import Path
        from habla_ml.definitions import build_definitions
        from habla_ml.export.publish import SourceCheckpoint, publish_export
        from habla_ml.export.registry import find_exporter
        from habla_ml.lake import DirectoryStore, Lake, catalogue
        from habla_ml.settings import load_settings

        settings = load_settings(Path("{ROOT}/configs/local.yaml"), {{}})
        lake, exporter = Lake(DirectoryStore(Path("lake")), Path("cache")), find_exporter("weights_list")
        name = catalogue.EXPORT.name("v1", exporter.name)
        source = SourceCheckpoint("0" * 64, lambda: Path("checkpoint"))
        options = exporter.build_options(settings.export)
        published = publish_export(lake, name, exporter, source, options, Path("work"), print)
        print(lake.get_bytes(published.artefact).decode())
        keys = build_definitions(settings).resolve_asset_graph().get_all_asset_keys()
        print("weights_list_txt" in {{each.path[-1] for each in keys}})
        """,
    )
    assert output.splitlines()[-2:] == ["model.bin", "True"]


@pytest.mark.slow
def test_a_new_annotation_source_reaches_the_event_log_its_sensor_and_erasure(project: Path) -> None:
    add_extension(
        project,
        "habla_ml/annotation/sources/diary.py",
        '''
        """A source with one correction on one day."""

        from habla_ml.annotation.event_log import append_events
        from habla_ml.annotation.events import AnnotationEvent
        from habla_ml.annotation.source import AnnotationSource, ForgetReport, SourceChanges, SourceDay


        def _find_changes(context):
            return SourceChanges((SourceDay("2026-02-16", "unread"),))


        def _collect(context, day):
            event = AnnotationEvent(
                "segment", "session", day, "Hola.", "corrected", "", "Ana", "diary", context.now, None
            )
            append_events(context.lake, day, [event], {"diary": "1"})


        def _forget(context, segment_ids):
            return ForgetReport("1 entry of the diary")


        SOURCE = AnnotationSource("diary", "diary_entries", _find_changes, _collect, _forget)
        ''',
        "habla_ml/annotation/sources/__init__.py",
        {
            "sources import habla, page": "sources import diary, habla, page",
            "    habla.SOURCE,": "    diary.SOURCE,\n    habla.SOURCE,",
        },
    )
    output = run_python(
        project,
        f"""
        from datetime import UTC, datetime
        from pathlib import Path
        from habla_ml.annotation.sources import collect_events
        from habla_ml.annotation.event_log import read_events
        from habla_ml.annotation.source import SourceContext
        from habla_ml.annotation.sources import SOURCES
        from habla_ml.definitions import build_definitions
        from habla_ml.lake import DirectoryStore, Lake
        from habla_ml.settings import load_settings

        Path("recordings").mkdir()
        environment = {{"HABLA_RECORDINGS__FOLDER": str(Path("recordings").resolve())}}
        settings = load_settings(Path("{ROOT}/configs/local.yaml"), environment)
        lake, now = Lake(DirectoryStore(Path("lake")), Path("cache")), datetime.now(UTC)
        log = collect_events(lake, "2026-02-16", settings, now)
        print([each.text for each in read_events(lake, log)])
        print("diary_entries" in {{each.name for each in build_definitions(settings).sensors}})
        print([each.forget(SourceContext(lake, settings, now), ()).deleted for each in SOURCES][0])
        """,
    )
    assert output.splitlines()[-3:] == ["['Hola.']", "True", "1 entry of the diary"]
