"""Metadata of a training: its progress while it runs, and the record of the version that it made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from habla_ml.defs.plots import plot_line
from habla_ml.defs.presentation import show_table, to_percent
from habla_ml.defs.result_metadata import build_result_metadata, round_figure
from habla_ml.tables import TextTable

if TYPE_CHECKING:
    from habla_ml.training.plan import VersionPlan
    from habla_ml.training.record import TrainedRun, TrainingRecord


def build_progress_metadata(figures: Mapping[str, int | float], now: datetime) -> dict[str, dg.MetadataValue]:
    """Return the figures of a report of progress, with the share that is done and the expected end."""
    shown: dict[str, dg.MetadataValue] = {}
    if figures.get("steps"):
        shown["progress %"] = dg.MetadataValue.float(round(100 * figures["step"] / figures["steps"], 1))
    if "remaining_s" in figures:
        end = now + timedelta(seconds=figures["remaining_s"])
        shown["expected end"] = dg.MetadataValue.timestamp(end)
    for name, value in figures.items():
        is_whole = isinstance(value, int)
        shown[name] = dg.MetadataValue.int(int(value)) if is_whole else dg.MetadataValue.float(round_figure(value))
    return shown


def build_training_metadata(
    plan: VersionPlan, record: TrainingRecord, reported: Mapping[str, Any]
) -> dict[str, dg.MetadataValue]:
    """Return the metadata of a trained version.

    Args:
        plan: What the version is pinned to.
        record: The record of its training.
        reported: The command of the lineage, and what only the training process knows: where TensorBoard's files and the
            runs of trackers are.
    """
    minutes = record.wall_s / 60
    return build_result_metadata(
        f"{plan.version}: {record.base_model} fine-tuned with the recipe {record.recipe}",
        {
            "validation WER": f"{100 * record.best.wer:.1f} %",
            "trained on": f"{record.train_hours:.2f} h, {record.train_clips:,} clips",
            "steps": record.steps,
            "training time": f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h",
            "machine": f"{record.device}, {record.precision}",
        },
        "nothing: the exports follow, then `wer_report` measures the version on the test set",
        details={
            **dict(_list_plots(record)),
            "validation WER %": to_percent(record.best.wer),
            "validation loss": record.best.loss,
            "train loss": record.losses[-1].loss,
            "steps": record.steps,
            "best step": record.best_step,
            "validation choice": record.choice or "lowest validation WER",
            "averaged steps": ", ".join(map(str, record.averaged_steps)) or None,
            "train hours": record.train_hours,
            "processed hours": record.processed_hours,
            "training time min": minutes,
            "processes": ", then ".join(map(str, record.processes)),
            "validations": _tabulate_validations(record),
            "skipped clips": record.skipped or None,
            "evaluation audio left out": record.evaluation_audio_left_out or None,
            "remedies": record.remedies.model_dump(exclude_defaults=True) or None,
            "general speech": {each.name: asdict(each) for each in record.general_speech} or None,
            **dict(_list_origins(record)),
            **reported,
            "checkpoint": record.tree,
            "snapshot": plan.snapshot,
            "code": "; ".join(map(str, record.code)) or "unknown",
            "identity": record.identity.model_dump(mode="json"),
        },
    )


def _list_plots(record: TrainingRecord) -> Iterator[tuple[str, dg.MetadataValue]]:
    """Yield plots of training loss and validation WER by step, of the first stage too."""
    for stage, run in (("", record), ("first stage: ", record.first_stage)):
        if run is not None:
            losses = [(float(point.step), point.loss) for point in run.losses]
            wers = [(float(point.step), 100 * point.wer) for point in run.validation]
            yield f"{stage}loss", plot_line(losses, "step", "training loss")
            if len(wers) > 1:
                yield f"{stage}validation", plot_line(wers, "step", "validation WER, %")


def _list_origins(record: TrainingRecord) -> Iterator[tuple[str, Any]]:
    yield "base model", f"{record.base_model} @ {record.base_model_revision or 'by content'}"
    if record.start is not None:
        yield "continued from", f"{record.start.repository} @ {record.start.revision}"
    if (first := record.first_stage) is not None:
        fields = {"identity_digest", "tree", "recipe", "steps", "best_step", "train_hours", "processed_hours", "wall_s"}
        sources = {each.name: asdict(each) for each in first.general_speech}
        yield "first stage", {**first.model_dump(mode="json", include=fields), "general speech": sources}
        yield "first stage: validations", _tabulate_validations(first)


def _tabulate_validations(run: TrainedRun) -> dg.MarkdownMetadataValue:
    rows = [
        (
            str(point.step),
            f"{point.wer:.1%}",
            _format_share(point.general_wer),
            _format_share(point.invented),
            f"{point.loss:.3f}",
        )
        for point in run.validation
    ]
    return show_table(TextTable.of("", ["step", "WER", "general WER", "invented text", "loss"], rows))


def _format_share(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"
