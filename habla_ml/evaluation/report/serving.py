"""What a report shows about serving: the candidate under other serving profiles, and how the models were timed."""

from __future__ import annotations

from habla_ml.document import Block, Paragraph, Section
from habla_ml.evaluation.comparison.profile_scores import ProfileScore, ProfileScores
from habla_ml.evaluation.comparison.records import Comparison
from habla_ml.evaluation.report import figures
from habla_ml.evaluation.report.content import ReportContent
from habla_ml.tables import TableCell, TextTable


def build_serving_section(content: ReportContent) -> Section:
    """Return the section about serving profiles; empty where they were not measured."""
    comparison = content.comparison
    if comparison.profiles is None:
        return Section.of("serving", "Serving profiles", ())
    blocks: list[Block | None] = [*map(Paragraph, describe_profiles(comparison)), build_profile_table(comparison)]
    return Section.of("serving", "Serving profiles", blocks, "Serving")


def build_profile_table(comparison: Comparison) -> TextTable:
    """Return the candidate's WER under every serving profile."""
    found = comparison.profiles
    return TextTable.of(
        "The candidate under every serving profile",
        ["Profile", "WER", "difference, points", "clips without text", "end of the last segment"],
        [
            [
                f"{each.profile} (decides)" if found and each.profile == found.deciding else each.profile,
                figures.share_with_interval(each.wer.interval),
                figures.points_with_interval(each.points),
                str(each.empty),
                _describe_ends(each),
            ]
            for each in (found.scores if found else ())
        ],
        is_public=True,
    )


def describe_profiles(comparison: Comparison) -> tuple[str, ...]:
    """Return which clips the profiles share, and a sentence for each profile that differs significantly."""
    found = comparison.profiles
    if found is None:
        return ()
    extent = f"all {found.clips} test clips"
    if found.clips < found.test_clips:
        extent = f"a random sample of {found.clips} of {found.test_clips} test clips"
    about = (
        f"Measured on {extent} of {found.sessions} sessions. The profile {found.deciding} decides, and all other figures "
        "of this report are of it."
    )
    return (about, *(each for score in found.scores if (each := _describe_gap(found, score))))


def describe_speed_run(comparison: Comparison) -> str:
    """Return when, where and how the models were timed, or that they were not."""
    run = comparison.speed
    if run is None:
        return (
            "Speed, memory and cost were not measured. They need a run of their own, because times of different days cannot "
            "be compared."
        )
    libraries = ", ".join(f"{name} {version}" for name, version in run.machine.libraries.items())
    missing = [each.name for each in comparison.models if run.find(each.name) is None]
    failed = f" Not timed, because a clip failed: {', '.join(missing)}." if missing else ""
    return (
        f"Speed, memory and cost were measured on {run.measured_at} UTC with {run.clips} clips "
        f"({figures.minutes(run.audio_s)}) in {run.rounds} rounds, all models in turn, on {run.machine.to_sentence()}; "
        f"{libraries}. The real-time factor is the wall time of decoding one clip alone over its length. "
        f"{_describe_cost(comparison)} Load before the run: {run.load:.1f} programs for each core.{failed}"
    )


def _describe_cost(comparison: Comparison) -> str:
    price = comparison.method.compute_usd_per_hour
    if not price:
        return "The cost of this machine is unknown; set evaluation.compute_usd_per_hour."
    return (
        f"The cost is the price of the machine, {figures.dollars(price)} an hour, over the audio that it decodes in an hour "
        "where all clips are given at once."
    )


def _describe_ends(score: ProfileScore) -> TableCell | str:
    ends = score.segment_ends
    if ends is None:
        return figures.NO_VALUE
    detail = f"95 % within {ends.p95_ms:.0f}\u00a0ms; {ends.bias_ms:+.0f}\u00a0ms on average; {score.timed_clips} clips"
    return TableCell(f"{ends.mean_absolute_ms:.0f}\u00a0ms", detail)


def _describe_gap(found: ProfileScores, score: ProfileScore) -> str:
    points = score.points
    if points is None or points.low <= 0 <= points.high:
        return ""
    worse = points.value > 0
    sentence = (
        f"Served as {score.profile}, the model makes {'more' if worse else 'fewer'} errors than as {found.deciding}: "
        f"{figures.points_with_interval(points)} points."
    )
    if worse and getattr(score.decoding, "timestamps", False):
        sentence += (
            " In this profile the model writes timestamps. A usual cause is a training without them; do not serve the model "
            "in this way before the gap is closed."
        )
    return sentence
