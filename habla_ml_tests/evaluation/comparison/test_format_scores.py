"""Each export is compared with the served model on the same clips; what cannot be decoded is left out with a reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from habla_ml.corpus.snapshot import Utterance
from habla_ml.errors import ExportError
from habla_ml.evaluation.comparison.format_scores import FormatScores, build_sample_options, measure_formats
from habla_ml.evaluation.promotion.withheld_formats import list_withheld_formats
from habla_ml.evaluation.report import ReportContent
from habla_ml.evaluation.report.formats import build_formats_section, build_formats_table, describe_parity
from habla_ml.export.coreml.archive import COREML
from habla_ml.export.ggml import GGML
from habla_ml.export.onnx import ONNX
from habla_ml.export.publish import open_export, read_export
from habla_ml.lake import DirectoryStore, Lake
from habla_ml.settings import EvaluationSettings, PromotionSettings, Settings
from habla_ml.transcription.serving_profiles import build_profile_options
from habla_ml_tests.testing.decoded_formats import (
    CANDIDATE,
    drop_words,
    publish_coreml,
    publish_onnx,
    save_format_texts,
)
from habla_ml_tests.testing.released_models import make_review_settings
from habla_ml_tests.testing.simulated_hypotheses import make_comparison, make_utterances

UTTERANCES = make_utterances(8, 6)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = make_review_settings(tmp_path)
    evaluation = made.evaluation.model_copy(update={"format_clips": 24, "bootstrap_draws": 200})
    export = made.export.model_copy(update={"onnx_quantisation": "int8"})
    return made.model_copy(update={"evaluation": evaluation, "export": export})


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(DirectoryStore(tmp_path / "lake"), tmp_path / "cache")


def measure(lake: Lake, settings: Settings, earlier: FormatScores | None = None) -> FormatScores:
    found = measure_formats(lake, CANDIDATE, lambda: UTTERANCES, settings, earlier, lambda _: None)
    assert found is not None
    return found


def save_texts(lake: Lake, settings: Settings, folder: Path, lost: int, clips: list[Utterance] = UTTERANCES) -> str:
    """Save a Core ML archive that loses more words than the served model."""
    archive = publish_coreml(lake, folder)
    save_format_texts(lake, settings, clips, archive, COREML, (drop_words(lost), drop_words(1)))
    return archive


def test_a_format_is_compared_with_the_served_model_on_the_same_clips(
    lake: Lake, settings: Settings, tmp_path: Path
) -> None:
    archive, tree = save_texts(lake, settings, tmp_path, lost=2), publish_onnx(lake, tmp_path)
    save_format_texts(lake, settings, UTTERANCES, tree, ONNX, (drop_words(1), drop_words(1)))
    found = measure(lake, settings)
    assert (found.clips, found.test_clips, found.skipped) == (24, 48, ())
    coreml, onnx = found.scores
    assert (coreml.format, coreml.artefact, coreml.profile, coreml.size_bytes) == (
        "coreml",
        archive,
        "phone",
        5_000_000,
    )
    assert (coreml.clips, coreml.wer.counts.deletions, coreml.served_wer.counts.deletions) == (24, 48, 24)
    assert coreml.points is not None
    assert coreml.points.value == pytest.approx(100 * 24 / coreml.words)
    assert coreml.parity == {"encoder_psnr_db": 53.8}
    assert coreml.real_time_factor is None, "nothing was decoded now"
    assert onnx.points is not None
    assert onnx.points.value == 0


def test_a_missing_export_and_one_of_another_checkpoint_are_named(
    lake: Lake, settings: Settings, tmp_path: Path
) -> None:
    publish_coreml(lake, tmp_path, checkpoint="d" * 64)
    coreml, onnx = measure(lake, settings).skipped
    assert coreml.reason.startswith("the Core ML archive of v2 is of another checkpoint; materialise `coreml_zip`")
    assert onnx.reason.startswith("v2 has no ONNX model in the lake; materialise `onnx_model`")


def test_a_format_without_time_is_left_out_and_a_second_report_shows_the_clips_of_the_first(
    lake: Lake, settings: Settings, tmp_path: Path
) -> None:
    save_texts(lake, settings, tmp_path, lost=2)
    hurried = settings.model_copy(
        update={"evaluation": settings.evaluation.model_copy(update={"format_seconds": 1e-9})}
    )
    assert "increase evaluation.format_seconds" in measure(lake, hurried).skipped[0].reason
    first = measure(lake, settings)
    (score,) = first.scores
    stopped = score.model_copy(update={"clips": 5, "real_time_factor": 1.25, "hardware": "2 × Example CPU"})
    again = measure(lake, settings, first.model_copy(update={"scores": (stopped,)})).scores[0]
    assert (again.clips, again.real_time_factor, again.hardware) == (5, 1.25, "2 × Example CPU")
    assert again.wer.counts.reference_words < score.wer.counts.reference_words
    assert measure(lake, settings, measure(lake, settings)) == first


def test_no_clips_measure_nothing(lake: Lake, settings: Settings) -> None:
    off = settings.model_copy(update={"evaluation": settings.evaluation.model_copy(update={"format_clips": 0})})
    assert measure_formats(lake, CANDIDATE, lambda: UTTERANCES, off, None, lambda _: None) is None


def test_the_options_are_those_of_the_profile_that_both_engines_apply() -> None:
    settings = EvaluationSettings()
    assert COREML.sample_decoding is not None
    assert ONNX.sample_decoding is not None
    assert GGML.sample_decoding is not None
    phone, served = build_sample_options(COREML.sample_decoding, settings)
    assert served == build_profile_options("phone", settings), "decoded for the serving profiles already"
    assert (phone.engine, phone.fallback_temperatures) == ("coreml", served.fallback_temperatures)
    assert phone.clip_timeout_s == 600
    onnx, served = build_sample_options(ONNX.sample_decoding, settings)
    assert (onnx.beam_size, served.beam_size, onnx.vad, served.vad) == (1, 1, True, True)
    ggml, served = build_sample_options(GGML.sample_decoding, settings)
    assert (ggml.engine, ggml.beam_size, served.beam_size, ggml.vad, served.vad) == ("whisper.cpp", 5, 5, False, False)


def test_the_report_shows_each_format_and_why_another_is_missing(
    lake: Lake, settings: Settings, tmp_path: Path
) -> None:
    save_texts(lake, settings, tmp_path, lost=2)
    comparison = make_comparison(UTTERANCES, {"base": 0.3, "candidate": 0.1})
    assert not build_formats_section(ReportContent(comparison)).blocks
    comparison = comparison.model_copy(update={"formats": measure(lake, settings)})
    (row,) = build_formats_table(comparison).rows
    assert [each.text for each in row[:3]] == ["coreml, int8", "coreml, as phone", "24"]
    assert row[5].text.startswith("+")
    assert row[6].text == "5.0"
    assert "onnx was not decoded: v2 has no ONNX model in the lake" in str(
        build_formats_section(ReportContent(comparison))
    )


@pytest.mark.parametrize(("bound", "is_withheld"), [(2.0, True), (60.0, False)])
def test_a_format_that_is_surely_worse_than_the_bound_is_withheld(
    bound: float, is_withheld: bool, lake: Lake, settings: Settings, tmp_path: Path
) -> None:
    archive = save_texts(lake, settings, tmp_path, lost=3)
    comparison = make_comparison(UTTERANCES, {"base": 0.3, "candidate": 0.1})
    comparison = comparison.model_copy(update={"formats": measure(lake, settings)})
    found = list(list_withheld_formats(comparison, PromotionSettings(format_loss_points=bound)))
    assert [each.artefact for each in found] == ([archive] if is_withheld else [])
    if is_withheld:
        assert "The format coreml in int8 is left out of the release: on 24 clips its WER is" in found[0].reason


def test_an_archive_is_unpacked_once_and_a_hostile_one_never(lake: Lake, settings: Settings, tmp_path: Path) -> None:
    publish_coreml(lake, tmp_path)
    export = read_export(lake, "v2", COREML)
    assert export is not None
    folder = open_export(lake, COREML, export, settings.work_folder)
    assert [each.name for each in folder.iterdir()] == ["config.json"], "only what is stated"
    assert open_export(lake, COREML, export, settings.work_folder) == folder
    for path, sha256 in (("../out.json", "0" * 64), ("config.json", "0" * 64), ("absent.json", "0" * 64)):
        stated = {**export.details, "files": [{"path": path, "size_bytes": 2, "sha256": sha256}]}
        spoiled = type(export)(**{**vars(export), "details": stated, "artefact": export.artefact})
        other = settings.work_folder / "other"
        with pytest.raises(ExportError, match="cannot be unpacked"):
            open_export(lake, COREML, spoiled, other)
        assert not list(other.rglob("*.json"))


def test_parity_is_said_in_the_terms_of_the_bounds() -> None:
    programs = {"encoder_psnr_db": 73.97, "largest_logit_difference": 0.2, "logit_scale": 20.0}
    assert describe_parity({**programs, "same_argmax": 8, "compared_tokens": 8, "mel_largest_difference": 1e-4}) == (
        "encoder 74 dB, logits within 1 %, 8 of 8 tokens"
    )
    assert describe_parity({"logit_psnr_db": 50.4}) == "logits 50 dB"
    assert describe_parity({}) == "–"
