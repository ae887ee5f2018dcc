"""Exports of a version whose hypotheses are in the cache, so that measuring a format starts no engine."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from habla_ml.corpus.snapshot import Utterance
from habla_ml.evaluation.comparison.decoding import EvaluatedModel
from habla_ml.evaluation.comparison.format_scores import FormatScore, build_sample_options
from habla_ml.evaluation.scoring.alignment import ErrorCounts
from habla_ml.evaluation.scoring.rates import ErrorRate
from habla_ml.evaluation.scoring.statistics import Interval
from habla_ml.export.exporter import Exporter
from habla_ml.export.zip_folder import zip_folder
from habla_ml.lake import Lake
from habla_ml.settings import Settings
from habla_ml.transcription.engine import Hypothesis
from habla_ml.transcription.hypothesis_cache import save_hypotheses
from habla_ml.transcription.options import DecodingOptions

CHECKPOINT = "c" * 64
CANDIDATE = EvaluatedModel("v2", "candidate", "5" * 64, Path("unread"), CHECKPOINT)


def make_format_score(name: str, artefact: str, points: Interval, is_emulated: bool = False) -> FormatScore:
    """Return a format with this difference to the served model."""
    rate = ErrorRate(counts=ErrorCounts(substitutions=10, hits=90), interval=Interval(0.05, 0.1, 0.15))
    return FormatScore(
        format=name,
        artefact=artefact,
        quantisation="int8",
        size_bytes=1,
        profile="phone",
        decoding=DecodingOptions(engine=name),
        served_decoding=DecodingOptions(),
        clips=24,
        words=100,
        wer=rate,
        served_wer=rate,
        points=points,
        faults=0,
        real_time_factor=0.5,
        is_emulated=is_emulated,
        hardware="2 × Example CPU",
        run="0" * 64,
    )


def drop_words(count: int) -> Callable[[str], str]:
    """Return a model that loses the last words of each sentence."""
    return lambda sentence: " ".join(sentence.split()[: len(sentence.split()) - count])


def publish_coreml(lake: Lake, folder: Path, checkpoint: str = CHECKPOINT) -> str:
    """Publish an archive with one file and a manifest; return its id."""
    content = folder / "archive"
    content.mkdir(exist_ok=True)
    (content / "config.json").write_text("{}")
    (content / "manifest.json").write_text('{"manifest_version": 2}')
    stated = [{"path": "config.json", "size_bytes": 2, "sha256": hashlib.sha256(b"{}").hexdigest()}]
    archive = lake.put_file(zip_folder(content, folder / "archive.zip"))
    value = {"archive": archive, "checkpoint": checkpoint, "size_bytes": 5_000_000, "mended": [], "files": stated}
    value |= {"model_format": "mlpackage", "quantisation": "int8", "parity": {"encoder_psnr_db": 53.8}}
    lake.move_pointer("models/v2/coreml", value, lake.read_pointer("models/v2/coreml"))
    return archive


def publish_onnx(lake: Lake, folder: Path) -> str:
    """Publish a folder with one file; return its id."""
    content = folder / "onnx"
    content.mkdir(exist_ok=True)
    (content / "config.json").write_text("{}")
    tree = lake.put_tree(content)
    value = {"tree": tree, "checkpoint": CHECKPOINT, "size_bytes": 7, "mended": []}
    lake.move_pointer("models/v2/onnx", value, lake.read_pointer("models/v2/onnx"))
    return tree


def save_format_texts(
    lake: Lake,
    settings: Settings,
    clips: Sequence[Utterance],
    artefact: str,
    exporter: Exporter,
    texts: tuple[Callable[[str], str], Callable[[str], str]],
) -> None:
    """Save what the format writes, and what the served model writes under the same options."""
    assert exporter.sample_decoding is not None
    options, served = build_sample_options(exporter.sample_decoding, settings.evaluation)
    for name, how, write in ((artefact, options, texts[0]), (CANDIDATE.artefact, served, texts[1])):
        _save(lake, name, how, {each.audio_sha256: write(each.sentence) for each in clips})


def _save(lake: Lake, artefact: str, options: DecodingOptions, texts: dict[str, str]) -> None:
    save_hypotheses(lake, artefact, options, {key: Hypothesis(key, text, None, 1.0) for key, text in texts.items()})
