"""Sentences that the page and the Markdown share: who speaks, what failed, and how much of the advice is shown."""

from __future__ import annotations

from typing import Final

from habla_ml.evaluation.comparison.records import Comparison
from habla_ml.evaluation.metrics.diarisation import MAX_DIARISATION_RATE
from habla_ml.evaluation.promotion.advice import Advice
from habla_ml.evaluation.report.figures import percent, share_with_interval
from habla_ml.evaluation.report.thresholds import threshold_status

REASONS_SHOWN: Final = 3
"""Those that decided come first; `habla-ml advise` says the others."""
_THRESHOLD_STATUS_PHRASES: Final = {"met": "below", "unsure": "not surely below", "missed": "not below"}


def describe_chance(advice: Advice) -> str:
    """What the last figure of a forecast is the probability of."""
    return f"chance of {percent(advice.worth_removing, 0)} or more"


def describe_diarisation(comparison: Comparison) -> str:
    """The diarisation error rate of Habla's labels in a sentence; empty where it was not measured."""
    found = comparison.diarisation
    if found is None or found.rate is None:
        return ""
    speech_s = sum(each.speech_s for each in found.recordings)
    parts = ", ".join(
        f"{percent(seconds / speech_s)} {what}"
        for what, seconds in (
            ("without a label", sum(each.missed_s for each in found.recordings)),
            ("labelled though nobody speaks", sum(each.false_alarm_s for each in found.recordings)),
            ("somebody else's label", sum(each.confusion_s for each in found.recordings)),
        )
    )
    how = _THRESHOLD_STATUS_PHRASES[threshold_status(found.rate, MAX_DIARISATION_RATE) or "missed"]
    bound = f"{how} the {percent(MAX_DIARISATION_RATE, 0)} that are acceptable"
    return (
        f"Habla's speaker labels against marked turns: diarisation error rate {share_with_interval(found.rate)}, "
        f"{bound}; {parts}; {len(found.recordings)} sessions, whatever the version."
    )


def describe_failures(comparison: Comparison) -> tuple[str, ...]:
    """What went wrong while decoding the test set, a sentence for each model that it went wrong with."""
    clips, sentences = comparison.test.utterances, []
    for model in comparison.models:
        failed = model.failures
        kinds = {
            "unusable sound": failed.audio,
            "timeout": failed.timeout,
            "crash": failed.crash,
            "no answer of the service": failed.service,
        }
        if failed.faults:
            each = ", ".join(f"{count} {what}" for what, count in kinds.items() if count)
            sentences.append(f"{model.name} failed on {failed.faults} of {clips} clips, scored as empty: {each}.")
        if failed.fallback:
            sentences.append(
                f"{failed.fallback} of {clips} clips of {model.name} were heard by the local engine, since the service "
                f"was down: the figures of {model.name} are not the service's alone. Run again when it is up."
            )
    return tuple(sentences)
