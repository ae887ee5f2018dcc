"""The version of each asset's code, and the modules that decide what the asset computes.

Raise a version when the same inputs give another result. Dagster then shows what was made before as stale. A change that
only moves, renames, speeds up or explains code keeps its version. `python -m tools.asset_code` lists the assets whose
modules changed since the last decision, and a test fails until there is one.

Some stages repeat work by a version of their own, which is then raised too: `_READER_VERSION` of recordings,
`_BUILDER_VERSION` of the corpus, `TRAINING_CODE`, `SCORER_VERSION`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class AssetCode:
    """The code of an asset."""

    version: str
    modules: tuple[str, ...]
    """Below `habla_ml`; a package counts with all modules in it. Modules that only store, show or orchestrate are not here."""


_SEGMENTS: Final = (
    "audio",
    "recordings.day_tables",
    "recordings.days",
    "recordings.segment_audio",
    "recordings.segments",
)
_PROGRAMS: Final = ("export.prepare", "export.programs", "export.tokenizer_vocabulary", "runtimes")
_SCORES: Final = ("evaluation.comparison", "evaluation.metrics", "evaluation.scoring", "runtimes", "transcription")

ASSET_CODE: Final[Mapping[str, AssetCode]] = {
    "raw_recordings": AssetCode(
        "1",
        (*_SEGMENTS, "recordings.day_reader", "recordings.ingest", "recordings.metadata", "recordings.sessions"),
    ),
    "uploaded_clips": AssetCode("1", (*_SEGMENTS, "recordings.upload_names", "recordings.uploads")),
    "annotated_corpus": AssetCode(
        "2",
        (
            "annotation.events",
            "annotation.sources",
            "corpus.build",
            "corpus.conventions",
            "corpus.violations",
            "damaged_text",
            "delimited",
        ),
    ),
    "splits": AssetCode(
        "1",
        (
            "audio.fingerprint",
            "corpus.copies",
            "corpus.fingerprint_index",
            "corpus.near_duplicates",
            "corpus.overlap",
            "corpus.planned_splits",
            "corpus.session_splits",
            "corpus.snapshot",
            "corpus.speakers",
            "corpus.split_assignment",
            "corpus.split_ledger",
            "corpus.split_tables",
            "corpus.split_totals",
            "corpus.splits",
        ),
    ),
    "review_queue": AssetCode("1", ("review",)),
    "corpus_report": AssetCode("1", ("corpus.quality", "corpus.report", "corpus.report_page")),
    "erased_contributors": AssetCode("2", ("erasure",)),
    "fine_tuned_checkpoint": AssetCode(
        "7",
        (
            "training.augmentation",
            "training.augmenter",
            "training.averaging",
            "training.checkpoint_bounds",
            "training.checkpoints",
            "training.clip_shards",
            "training.clips",
            "training.device",
            "training.evaluation_audio",
            "training.extra_speech",
            "training.first_stage",
            "training.identity",
            "training.log_mel",
            "training.model_folder",
            "training.model_validation",
            "training.prediction",
            "training.recipe",
            "training.remedies",
            "training.start",
            "training.run",
            "training.schedule",
            "training.sharing",
            "training.silence",
            "training.small_memory",
            "training.spec_augment",
            "training.speech_bounds",
            "training.target_forms",
            "training.targets",
            "training.train",
            "training.trainer",
            "training.validation",
            "training.validation_sets",
            "training.windows",
        ),
    ),
    "ctranslate2_model": AssetCode("1", ("export.ctranslate2", "export.prepare")),
    "coreml_zip": AssetCode("3", (*_PROGRAMS, "export.coreml", "export.zip_folder")),
    "onnx_model": AssetCode("1", (*_PROGRAMS, "export.onnx")),
    "ggml_model": AssetCode("1", (*_PROGRAMS, "export.ggml", "export.whisper_cpp")),
    "transformers_model": AssetCode("1", ("export.prepare", "export.transformers_folder")),
    "wer_report": AssetCode("6", (*_SCORES, "evaluation.promotion", "evaluation.run")),
    "recipe_sweep": AssetCode("1", ("training.sweep",)),
    "engine_comparison": AssetCode("5", (*_SCORES, "evaluation.run")),
    "cdn_release": AssetCode(
        "3",
        (
            "evaluation.promotion",
            "release.archive",
            "release.candidate",
            "release.channel",
            "release.gate",
            "release.manifest",
            "release.publish",
            "release.sealed",
            "release.stale_evidence",
        ),
    ),
    "channel_signatures": AssetCode("1", ("release.channel", "release.moves", "release.signing")),
    "hub_model": AssetCode("1", ("release.hub",)),
    "released_model_quality": AssetCode(
        "2",
        (
            "monitoring.drift",
            "monitoring.inputs",
            "monitoring.quality",
            "monitoring.released_model",
            "monitoring.weeks",
        ),
    ),
    "storage_cleanup": AssetCode("1", ("cleanup",)),
    "loop_status": AssetCode("1", ("monitoring.status.loop_status",)),
}


def get_code_version(asset: str) -> str:
    """Return the version of an asset's code; raises `LookupError` for one that `ASSET_CODE` does not list."""
    if asset not in ASSET_CODE:
        raise LookupError(f"asset {asset} has no code version; add it to ASSET_CODE in habla_ml/defs/code_versions.py")
    return ASSET_CODE[asset].version
