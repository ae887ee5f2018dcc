"""Whether to fine-tune and to go on collecting speech: a pure function from what is known to a verdict with reasons.

The bounds (`AdviceSettings`) are those published for Whisper on dialects: with a WER below 15 %, fewer than ten hours,
or one term behind most errors, fine-tuning does not pay. Measurements replace these rules of thumb: a version
that is significantly better than the base on one's own test set shows that the hours suffice.
"""

from __future__ import annotations

from typing import Final, Literal

from habla_ml.evaluation.frozen_record import EvaluationRecord
from habla_ml.evaluation.promotion.learning_curve import LearningCurve
from habla_ml.evaluation.promotion.rule import Verdict
from habla_ml.evaluation.scoring.rates import format_bound, format_percent, format_percent_beside
from habla_ml.evaluation.scoring.statistics import Interval
from habla_ml.settings import AdviceSettings

AdviceVerdict = Literal["fine_tune", "collect_more", "do_not"]
_MIN_NEW_HOURS = 1.0
_NEARLY_CERTAIN = 0.99


class TermErrorShare(EvaluationRecord):
    """The term behind most errors of the base model."""

    term: str
    share: float
    """Lower bound of its share of all errors on the test set: rare confusions are not stored."""


class LatestVersion(EvaluationRecord):
    """The newest trained and evaluated version."""

    name: str
    improvement: Interval | None
    """Share of the errors of the base that it removes."""
    verdict: Verdict
    main_reason: str
    """The first reason of that verdict."""
    trained_hours: float
    hours_since: float
    """New usable hours since it was planned."""


class AdviceInputs(EvaluationRecord):
    """Everything that the advice depends on."""

    base_wer: Interval | None
    """Of the base model on the test set of the classroom; None without a test set."""
    test_words: int
    test_sessions: int
    hours: float
    """Usable corrected hours of the corpus, all splits."""
    months: float
    """From the first to the last day of recording."""
    latest: LatestVersion | None
    most_frequent_error: TermErrorShare | None
    notes: tuple[str, ...] = ()
    """Limits of the forecasts."""


class Forecast(EvaluationRecord):
    """Expected effect of more hours of training speech."""

    more_hours: float
    hours: float
    """Total hours of training speech."""
    wer: Interval
    """Median and 80 % interval, from the measured WER of the newest version."""
    reduction: Interval
    """Share of today's errors that is removed: median and 80 % interval."""
    probability: float
    """That at least `AdviceSettings.worth_removing` of today's errors are removed."""

    @property
    def probability_text(self) -> str:
        """The probability as text, never 0 % or 100 %."""
        if self.probability > _NEARLY_CERTAIN:
            return "over 99\u00a0%"
        return "under 1\u00a0%" if self.probability < 1 - _NEARLY_CERTAIN else format_percent(self.probability)


class Advice(EvaluationRecord):
    """Verdict and reasons."""

    verdict: AdviceVerdict
    headline: str
    reasons: tuple[str, ...]
    """Sentences with value and bound; those that decide are first."""
    forecasts: tuple[Forecast, ...]
    """Empty before the first training, and if the measured rates do not follow a learning curve."""
    worth_removing: float
    """Share of today's errors that the probabilities of the forecasts refer to."""
    inputs: AdviceInputs


def advise(inputs: AdviceInputs, curve: LearningCurve | None, settings: AdviceSettings) -> Advice:
    """Answer "Should I fine-tune?" and "How many more hours?".

    The rules apply in this order: `collect_more` without a test set; `do_not` if the base is good enough or one term
    causes most of its errors; `collect_more` below `fewest_hours`, unless the latest version is significantly better
    than the base; `fine_tune` before the first training. With a trained version, the forecast decides: if the largest
    amount of `more_hours` is unlikely to remove `worth_removing` of the errors, collecting stops, and fine-tuning too
    if it never helped. Otherwise the verdict on that version decides.

    `curve` is fitted to the versions so far; None with too few.
    """
    misfit = curve.explain_misfit() if curve else None
    forecasts = _make_forecasts(None if misfit else curve, settings)
    verdict, headline, decided = _decide_verdict(inputs, forecasts, settings)
    observed = _list_observations(inputs, settings)
    if not forecasts:
        observed.append(misfit or _NO_FORECAST)
    return Advice(
        verdict=verdict,
        headline=headline,
        reasons=tuple(dict.fromkeys([*decided, *observed, *inputs.notes])),
        forecasts=forecasts,
        worth_removing=settings.worth_removing,
        inputs=inputs,
    )


_Conclusion = tuple[AdviceVerdict, str, list[str]]
"""Verdict, headline, and the sentences that decide."""


def _decide_verdict(inputs: AdviceInputs, forecasts: tuple[Forecast, ...], settings: AdviceSettings) -> _Conclusion:
    base, latest, frequent = inputs.base_wer, inputs.latest, inputs.most_frequent_error
    if base is None:
        why = "The base model was not scored on any test words. Correct more sessions and publish the splits."
        return "collect_more", "Not yet: the error rate of the base model on your speech is unknown", [why]
    if base.value < settings.base_wer_from:
        headline = "Do not fine-tune: the base model recognises your speech well"
        return "do_not", headline, [_describe_base_wer(base, settings)]
    if frequent is not None and frequent.share > settings.one_term_share:
        why = (
            f"At least {format_percent_beside(frequent.share, settings.one_term_share)} of the base model's errors are "
            f"{frequent.term!r}, more than {format_bound(settings.one_term_share)}: add a single term to the vocabulary or the "
            "prompt of the recogniser instead of training."
        )
        return "do_not", f"Do not fine-tune: add {frequent.term!r} to the vocabulary or the prompt", [why]
    if inputs.hours < settings.fewest_hours and not _is_proven(latest):
        headline = f"Do not fine-tune yet: {inputs.hours:.1f} of {settings.fewest_hours:g} hours"
        return "collect_more", headline, [_describe_hours(inputs, settings)]
    if latest is None:
        return "fine_tune", "Fine-tune: train the first version", [_describe_base_wer(base, settings)]
    return _decide_after_training(inputs, latest, forecasts, settings)


_AFTER_TRAINING: Final[dict[tuple[Verdict | None, bool], tuple[AdviceVerdict, str]]] = {
    (None, False): ("collect_more", "Collect more: {name} is not significantly better than the base model"),
    ("collect_more", False): ("collect_more", "Collect more: {name} helps, but not enough yet"),
    ("keep", False): ("fine_tune", "Fine-tune: {name} helps, but is not shown to be better than the release"),
    ("refuse", False): ("fine_tune", "Fine-tune again: {name} helps, but has a regression"),
    ("deploy", False): ("fine_tune", "Fine-tune: {name} is better than the base model"),
    (None, True): ("do_not", "Do not fine-tune: it did not help, and more hours are unlikely to help"),
    ("collect_more", True): (
        "do_not",
        "Do not continue: {name} helps too little, and more hours are unlikely to change that",
    ),
    ("keep", True): (
        "do_not",
        "Stop collecting: {name} is not shown to be better than the release, and more hours are unlikely to change that",
    ),
    ("refuse", True): ("fine_tune", "Stop collecting and fine-tune again: {name} helps, but has a regression"),
    ("deploy", True): ("fine_tune", "Stop collecting: more speech is unlikely to improve on {name}"),
}
"""Verdict on the latest version (None: not significantly better), and whether more hours are unlikely to help."""


def _decide_after_training(
    inputs: AdviceInputs, latest: LatestVersion, forecasts: tuple[Forecast, ...], settings: AdviceSettings
) -> _Conclusion:
    """Return the verdict after a version was trained and evaluated."""
    why = [_describe_improvement(latest)]
    furthest = max(forecasts, key=lambda each: each.more_hours, default=None)
    is_gain_unlikely = furthest is not None and furthest.probability < settings.worth_probability
    if inputs.hours < settings.fewest_hours:
        why.append(
            f"There are {inputs.hours:.1f} usable hours, fewer than the {settings.fewest_hours:g} of the rule of "
            "thumb, but the measurement on your speech is stronger evidence."
        )
    if furthest is not None:
        why.append((_describe_small_gain if is_gain_unlikely else _describe_gain)(furthest, settings))
    found = latest.verdict if _is_proven(latest) else None
    if found in ("keep", "collect_more", "refuse"):
        why.append(latest.main_reason)
    verdict, headline = _AFTER_TRAINING[found, is_gain_unlikely]
    return verdict, headline.format(name=latest.name), why


_NO_FORECAST: Final = (
    "There is no forecast: it needs the base model and a version on one test set with two or more sessions. Published "
    "results for Whisper on dialects: 2–5 h remove 15–20\u00a0% of the errors, 8–20 h 30–40\u00a0%, 50 h 50\u00a0%."
)


def _list_observations(inputs: AdviceInputs, settings: AdviceSettings) -> list[str]:
    """List further observations, independent of the verdict."""
    base, latest = inputs.base_wer, inputs.latest
    observations = []
    if base is not None:
        observations.append(_describe_base_wer(base, settings))
        if latest is not None:
            observations.append(_describe_improvement(latest))
    if not _is_proven(latest) or inputs.hours >= settings.fewest_hours:
        observations.append(_describe_hours(inputs, settings))
    if latest is not None and latest.hours_since >= _MIN_NEW_HOURS:
        observations.append(
            f"{latest.hours_since:.1f} usable hours are new since {latest.name}; the next version trains on them "
            "without further collecting."
        )
    return observations


def _make_forecasts(curve: LearningCurve | None, settings: AdviceSettings) -> tuple[Forecast, ...]:
    if curve is None:
        return ()
    return tuple(
        Forecast(
            more_hours=more,
            hours=curve.newest.hours + more,
            wer=curve.wer(more),
            reduction=curve.reduction(more),
            probability=curve.probability(more, settings.worth_removing),
        )
        for more in settings.more_hours
    )


def _is_proven(latest: LatestVersion | None) -> bool:
    """Whether its improvement is significant."""
    return latest is not None and latest.improvement is not None and latest.improvement.low > 0


def _describe_base_wer(base: Interval, settings: AdviceSettings) -> str:
    wrong = format_percent_beside(base.value, settings.base_wer_from, 1)
    sentence = (
        f"The base model gets {wrong} of the words wrong ({100 * base.low:.1f} to "
        f"{100 * base.high:.1f}), {'below' if base.value < settings.base_wer_from else 'above'} the "
        f"{format_bound(settings.base_wer_from)} from which fine-tuning pays"
    )
    is_unsure = base.low < settings.base_wer_from <= base.high
    return f"{sentence}; the bound is inside the interval." if is_unsure else f"{sentence}."


def _describe_hours(inputs: AdviceInputs, settings: AdviceSettings) -> str:
    hours, months, fewest = inputs.hours, inputs.months, settings.fewest_hours
    pace = hours / months if months >= 1 else None
    since = f"{months:.1f} months" if months >= 1 else "less than a month"
    sentence = f"There are {hours:.1f} usable hours from {since} of use; {fewest:g} are needed."
    if hours >= fewest or not pace:
        return sentence
    return f"{sentence} At this pace that takes about {max(1, round((fewest - hours) / pace))} more months."


def _describe_improvement(latest: LatestVersion) -> str:
    if latest.improvement is None:
        return f"{latest.name} was not compared with the base model."
    kind, change = "fewer", latest.improvement
    if change.value < 0:
        kind, change = "more", Interval(-change.high, -change.value, -change.low)
    found = (
        f"{latest.name}, trained on {latest.trained_hours:.1f} h, makes {format_percent(change.value)} {kind} errors than "
        f"the base model (95\u00a0% interval {_format_interval(change)})"
    )
    return f"{found}." if change.low > 0 else f"{found}, which is not significant."


def _describe_small_gain(furthest: Forecast, settings: AdviceSettings) -> str:
    return (
        f"{furthest.more_hours:g} more hours would remove at least {format_bound(settings.worth_removing)} of today's "
        f"errors with a probability of {_format_chance(furthest, settings)}, below {format_bound(settings.worth_probability)}: "
        "more corrections are not worth their time."
    )


def _describe_gain(furthest: Forecast, settings: AdviceSettings) -> str:
    return (
        f"{furthest.more_hours:g} more hours are expected to remove {format_percent(furthest.reduction.value)} of today's "
        f"errors (80\u00a0% interval {_format_interval(furthest.reduction)}), and at least "
        f"{format_bound(settings.worth_removing)} with a probability of {_format_chance(furthest, settings)}; the bound is "
        f"{format_bound(settings.worth_probability)}."
    )


def _format_chance(forecast: Forecast, settings: AdviceSettings) -> str:
    """Return the probability, with the digits that it takes to differ from the bound."""
    if forecast.probability_text != format_percent(forecast.probability):
        return forecast.probability_text
    return format_percent_beside(forecast.probability, settings.worth_probability)


def _format_interval(interval: Interval) -> str:
    return f"{format_percent(interval.low)} to {format_percent(interval.high)}"
