"""Sentences that the HTML page and the Markdown share."""

from __future__ import annotations

from typing import Final

from habla_ml.evaluation.comparison.records import Change, Comparison, ModelScore
from habla_ml.evaluation.comparison.seed_spread import SeedSpread
from habla_ml.evaluation.comparison.slices import BLIND
from habla_ml.evaluation.metrics.confidence import LEAST_CONFIDENT_SHARE
from habla_ml.evaluation.metrics.diarisation import MAX_DIARISATION_RATE
from habla_ml.evaluation.report.content import ReportContent
from habla_ml.evaluation.report.figures import percent, share_with_interval
from habla_ml.evaluation.report.scoreboard import compare_with_bound

REASONS_SHOWN: Final = 3
"""The first reasons of the training advice decide its verdict; `habla-ml advise` prints all of them."""
_THRESHOLD_PHRASES: Final = {"met": "below", "unsure": "not significantly below", "missed": "not below"}


def describe_small_test_set(content: ReportContent) -> str:
    """Return that the test set has too few clips for a comparison; empty where it has enough."""
    fewest = content.acceptable.fewest_clips
    is_small = content.comparison.test.utterances < fewest
    return f"fewer than the {fewest} clips that a comparison takes" if is_small else ""


def describe_references(comparison: Comparison) -> str:
    """Return how many references are blind, and the error rate of each model on them."""
    total = comparison.test.utterances
    blind = next((each for each in comparison.slices if (each.dimension, each.name) == ("reference", BLIND)), None)
    if blind is None:
        return (
            f"none of {total} is blind: people saw a text when they wrote them, or it is unknown. A shown text pulls the "
            "reference towards the model that wrote it, so a comparison with that model is not neutral"
        )
    rates = "; ".join(f"{each.model} {share_with_interval(each.rate.interval)}" for each in blind.rates)
    size = (
        f"{blind.utterances} of {total} are blind, typed without a text in view ({blind.words} words of "
        f"{blind.sessions} sessions)"
    )
    note = f", {blind.too_small}" if blind.too_small else ""
    return f"{size}. WER on these alone{note}: {rates}"


def describe_annotators(comparison: Comparison) -> str:
    """Return how far two people differ on the same segments: the WER of one person against the text of another."""
    found = comparison.annotators
    if found is None:
        return "not measured: no segment has the texts of two people"
    if found.low is None or found.high is None:
        interval = "one session, so without an interval"
    else:
        interval = f"95 % interval {percent(found.low)} to {percent(found.high)}"
    kind = (
        "both typed without a text in view"
        if found.is_blind
        else "not all of them blind, so the true difference is probably larger"
    )
    return (
        f"two people differ on {percent(found.wer)} of the words ({interval}; {found.segments} segments of "
        f"{found.sessions} sessions, {kind}). Against the text of one person, another person scores about that WER"
    )


def describe_method(comparison: Comparison) -> str:
    """Return how the numbers were computed."""
    method = comparison.method
    return (
        f"All models decode the same clips, and one Spanish normaliser prepares their words ({method.scorer}). "
        f"The 95 % intervals come from {method.bootstrap_draws} bootstrap draws of whole {method.unit}s, the same "
        f"draws for all models (seed {method.seed}), widened for few {method.unit}s ({method.interval_rule}). "
        f"A slice with fewer than {method.smallest_slice_sessions} sessions or {method.smallest_slice_words} words "
        f"is too small for conclusions. Speech below {method.quiet_below_dbfs:g} dBFS counts as quiet."
    )


def describe_vocabulary(comparison: Comparison) -> str:
    """Return how many domain terms the test set holds; empty where not measured."""
    found = comparison.vocabulary
    if found is None:
        return ""
    return f"The test set holds {found.reference_terms} of {found.terms} terms, {found.reference_count} times."


def describe_diarisation(comparison: Comparison) -> str:
    """Return the diarisation error rate of Habla's labels; empty where it was not measured."""
    found = comparison.diarisation
    if found is None or found.rate is None:
        return ""
    sessions = found.recordings
    speech_s = sum(each.speech_s for each in sessions)
    seconds_by_kind = {
        "missed speech": sum(each.missed_s for each in sessions),
        "false alarm": sum(each.false_alarm_s for each in sessions),
        "speaker confusion": sum(each.confusion_s for each in sessions),
    }
    parts = ", ".join(f"{percent(seconds / speech_s)} {kind}" for kind, seconds in seconds_by_kind.items())
    phrase = _THRESHOLD_PHRASES[compare_with_bound(found.rate, MAX_DIARISATION_RATE) or "missed"]
    return (
        f"Diarisation error rate of Habla's speaker labels against annotated turns: {share_with_interval(found.rate)}, "
        f"{phrase} the acceptable {percent(MAX_DIARISATION_RATE, 0)}; {parts}; {len(sessions)} sessions. The "
        "labels do not depend on the model version."
    )


def describe_failures(comparison: Comparison) -> tuple[str, ...]:
    """Return what failed while decoding the test set, one sentence for each affected model."""
    clips, sentences = comparison.test.utterances, []
    for model in comparison.models:
        failed = model.failures
        kinds = {
            "unusable audio": failed.audio,
            "timeout": failed.timeout,
            "crash": failed.crash,
            "service error": failed.service,
        }
        if failed.faults:
            counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
            sentences.append(f"{model.name} failed on {failed.faults} of {clips} clips, scored as empty: {counts}.")
        if failed.fallback:
            sentences.append(
                f"The local engine decoded {failed.fallback} of {clips} clips of {model.name} because its service was "
                f"unavailable, so the results are not those of the service alone. Run again when it is available."
            )
    return tuple(sentences)


def describe_confidence(model: ModelScore) -> str:
    """Return whether the least confident clips hold more errors than a random choice; says so where not measured."""
    found = model.confidence
    if found is None:
        return f"The engine of {model.name} reports no confidence."
    share = found.errors_in_least_confident
    if share is None:
        return f"{model.name} makes no error in clips with a confidence, so nothing shows what its confidence is worth."
    result = (
        "That is significantly more than in a random choice: a review that starts with them finds more errors."
        if share.low > LEAST_CONFIDENT_SHARE
        else "That is not significantly more than in a random choice."
    )
    return (
        f"The {percent(LEAST_CONFIDENT_SHARE, 0)} of the clips in which {model.name} is least confident hold "
        f"{share_with_interval(share)} of its word errors. {result} Its mean confidence is "
        f"{percent(found.confidence)}, and {percent(found.accuracy)} of its words are right."
    )


def describe_reuse(comparison: Comparison) -> str:
    """Return how many versions were scored on this test set, and how lucky the best is; empty where not counted."""
    found = comparison.reuse
    if found is None:
        return ""
    if found.looks < 2:
        return "No other version was scored on this test set, so its figures are not selected."
    counted = f"{found.looks} versions were scored on this test set."
    if found.optimism_points is None:
        return f"{counted} How much too good the best of them looks is not known: fewer than two can be scored again."
    gone = found.looks - found.scored
    lost = f" ({gone} of them no longer exist and are assumed to vary like the others)" if gone else ""
    return (
        f"{counted} If all of them were equally good, the best of {found.looks} would look about "
        f"{found.optimism_points:.1f} points too good, by chance{lost}."
    )


def format_seed_spread(found: SeedSpread) -> str:
    """Return `22.4 % ± 0.9 (21.6 to 23.3)`: mean, standard deviation of one training, range."""
    between = f"{100 * found.lowest:.1f} to {100 * found.highest:.1f}"
    return f"{percent(found.mean)} ± {100 * found.standard_deviation:.1f} ({between})"


def describe_seed_spread(comparison: Comparison) -> str:
    """Return the spread, and whether the differences to base and release exceed it; empty without seeds."""
    found = comparison.seeds
    if found is None:
        return ""
    sentences = [f"The WER over {len(found.runs)} training seeds is {format_seed_spread(found)}."]
    for change in (comparison.change("base"), comparison.change("previous")):
        if change is not None and change.points is not None:
            sentences.append(_compare_with_spread(change, change.points.value, found))
    return " ".join(sentences)


def _compare_with_spread(change: Change, difference: float, found: SeedSpread) -> str:
    size = f"{abs(difference):.1f} points"
    if abs(difference) <= found.seed_noise_points:
        return (
            f"The difference to {change.against} ({size}) is within the variation between seeds "
            f"({found.seed_noise_points:.1f} points), so it is no evidence for or against this training."
        )
    kind = "gain over" if difference < 0 else "loss against"
    if found.standard_deviation == 0:
        return f"The {kind} {change.against} ({size}) does not depend on the seed."
    times = abs(difference) / (100 * found.standard_deviation)
    return f"The {kind} {change.against} ({size}) is {times:.0f} times the standard deviation between seeds."
