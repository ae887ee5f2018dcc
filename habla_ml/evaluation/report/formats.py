"""What a report shows about export formats: a sample of the test set, decoded with the files that are released."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from habla_ml.document import Block, BulletList, Paragraph, Section
from habla_ml.evaluation.comparison.format_scores import FormatScore, FormatScores
from habla_ml.evaluation.comparison.records import Comparison
from habla_ml.evaluation.report import figures
from habla_ml.evaluation.report.content import ReportContent
from habla_ml.tables import TableColumn, TextTable

_TITLE = "Export formats"


def build_formats_section(content: ReportContent) -> Section:
    """Return the section about export formats; empty where none was to be measured."""
    found = content.comparison.formats
    if found is None or not (found.scores or found.skipped):
        return Section.of("formats", _TITLE, ())
    blocks: list[Block | None] = [
        Paragraph(
            f"A random sample of {found.clips} of {found.test_clips} test clips, decoded with the files that are released. "
            "The difference is to the served model on the same clips under the same options, without the beam where a "
            "format has none. Texts at a temperature above 0 are drawn, so that two models differ there by chance."
        ),
        build_formats_table(content.comparison),
        BulletList(tuple(_list_notes(found))),
    ]
    return Section.of("formats", _TITLE, blocks, "Formats")


def build_formats_table(comparison: Comparison) -> TextTable:
    """Return the candidate in each format that was decoded."""
    found = comparison.formats
    columns: list[TableColumn | str] = [
        "Format",
        TableColumn("decoded by", is_numeric=False),
        "clips",
        "WER",
        TableColumn("served", help="WER of the served model on the same clips."),
        "difference, points",
        "size, MB",
        TableColumn("real-time factor", help="Seconds of decoding for each second of audio, clips at the same time."),
    ]
    return TextTable.of(
        _TITLE,
        columns,
        [
            [
                f"{each.format}, {each.quantisation}",
                f"{each.decoding.engine}, as {each.profile}",
                str(each.clips),
                figures.share_with_interval(each.wer.interval),
                figures.share_with_interval(each.served_wer.interval),
                figures.points_with_interval(each.points),
                f"{each.size_bytes / 1e6:.1f}",
                _describe_speed(each),
            ]
            for each in (found.scores if found else ())
        ],
        is_public=True,
    )


def describe_parity(parity: Mapping[str, float]) -> str:
    """Return how near an export is to the checkpoint: decibels, largest difference of a logit, and equal predictions.

    The difference is a share of the largest logit.
    """
    said = [
        f"{part} {parity[key]:.0f} dB"
        for part, key in (("encoder", "encoder_psnr_db"), ("logits", "logit_psnr_db"))
        if key in parity
    ]
    if parity.get("logit_scale"):
        said.append(f"logits within {100 * parity['largest_logit_difference'] / parity['logit_scale']:.2g} %")
    if "compared_tokens" in parity:
        said.append(f"{parity['same_argmax']:.0f} of {parity['compared_tokens']:.0f} tokens")
    return ", ".join(said) or figures.NO_VALUE


def _describe_speed(score: FormatScore) -> str:
    if score.real_time_factor is None:
        return figures.NO_VALUE
    factor = figures.number(score.real_time_factor, figures.count_decimals(score.real_time_factor))
    return f"{factor} (interpreter)" if score.is_emulated else factor


def _list_notes(found: FormatScores) -> Iterator[str]:
    for each in found.scores:
        if each.parity:
            yield f"{each.format} beside the checkpoint: {describe_parity(each.parity)}."
        if each.clips < found.clips:
            yield f"{each.format}: the time was over after {each.clips} of {found.clips} clips (evaluation.format_seconds)."
        if each.faults:
            yield f"{each.format}: {each.faults} clips were not decoded and count as empty texts."
    if any(each.is_emulated for each in found.scores):
        yield "The speed of an interpreter says nothing about the speed of a device."
    for hardware in dict.fromkeys(each.hardware for each in found.scores):
        yield f"Timed on {hardware}."
    yield from (f"{each.format} was not decoded: {each.reason}" for each in found.skipped)
