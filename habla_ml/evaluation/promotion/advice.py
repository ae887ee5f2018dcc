"""Whether to fine-tune, and whether to go on collecting: a pure function from what is known to a verdict with reasons.

The bounds are those of published experience with Whisper on dialects (`AdviceSettings`): below 15 % WER or ten hours,
or for a single term, fine-tuning is not worth it. A rule of thumb gives way to what was measured: a version
that is surely better than the base on one's own test set has shown that the hours suffice.
"""

from __future__ import annotations

from typing import Literal

from habla_ml.evaluation.frozen_record import EvaluationRecord
from habla_ml.evaluation.promotion.learning_curve import LearningCurve
from habla_ml.evaluation.promotion.rule import Verdict
from habla_ml.evaluation.scoring.statistics import Interval
from habla_ml.settings import AdviceSettings

AdviceVerdict = Literal["fine_tune", "collect_more", "do_not"]
_MIN_NEW_HOURS = 1.0
_NEARLY_CERTAIN = 0.99


class TermErrorShare(EvaluationRecord):
    """The term that the base model gets wrong most often."""

    term: str
    share: float
    """Of all its errors on the test set, at least: confusions beyond the tabulated ones are not counted."""


class LatestVersion(EvaluationRecord):
    """The newest version that was trained and measured."""

    name: str
    improvement: Interval | None
    """Share of the base's errors that it no longer makes."""
    verdict: Verdict
    main_reason: str
    """The first reason of that verdict."""
    trained_hours: float
    hours_since: float
    """Usable hours that have come since it was planned."""


class AdviceInputs(EvaluationRecord):
    """What is known when somebody asks."""

    base_wer: Interval | None
    """Of the base model on one's own test set; None where there is no test set."""
    test_words: int
    test_sessions: int
    hours: float
    """Usable corrected hours of the corpus, all splits."""
    months: float
    """From the first to the last day of recording."""
    latest: LatestVersion | None
    most_frequent_error: TermErrorShare | None
    notes: tuple[str, ...] = ()
    """What somebody who reads the forecasts must know."""


class Forecast(EvaluationRecord):
    """What more hours of training speech are expected to buy."""

    more_hours: float
    hours: float
    """Of training speech in all."""
    wer: Interval
    reduction: Interval
    """Share of today's errors that goes."""
    probability: float
    """That at least `AdviceSettings.worth_removing` of today's errors go."""

    @property
    def probability_text(self) -> str:
        """The probability in words: no forecast is certain."""
        if self.probability > _NEARLY_CERTAIN:
            return "over 99\u00a0%"
        return "under 1\u00a0%" if self.probability < 1 - _NEARLY_CERTAIN else _format_percent(self.probability)


class Advice(EvaluationRecord):
    """What to do, and why."""

    verdict: AdviceVerdict
    headline: str
    reasons: tuple[str, ...]
    """Sentences with value and bound; the ones that decided come first."""
    forecasts: tuple[Forecast, ...]
    """Empty where nothing was trained yet."""
    worth_removing: float
    """Share of today's errors whose removal the chances of the forecasts are about."""
    inputs: AdviceInputs


def advise(inputs: AdviceInputs, curve: LearningCurve | None, settings: AdviceSettings) -> Advice:
    """Answer "Should I fine-tune?" and "How many more hours?".

    In this order: nothing can be said without a test set; `do_not` where the base is good already, or where one term
    makes most of its errors; `collect_more` below `fewest_hours`, unless the latest version is surely better than the
    base; `fine_tune` where nothing was trained yet. With a version the forecast decides: where the most hours asked
    about would hardly remove a share worth having, collecting stops, and fine-tuning too if it never helped;
    otherwise the version's own verdict says whether it takes more speech.

    Args:
        inputs: What is known.
        curve: Fitted to the versions so far; None where there are too few.
        settings: The bounds.
    """
    forecasts = _make_forecasts(curve, settings)
    verdict, headline, decided = _decide_verdict(inputs, forecasts, settings)
    notes = (*_list_observations(inputs, forecasts, settings), *inputs.notes)
    reasons = (*decided, *(each for each in notes if each not in decided))
    return Advice(
        verdict=verdict,
        headline=headline,
        reasons=reasons,
        forecasts=forecasts,
        worth_removing=settings.worth_removing,
        inputs=inputs,
    )


_Conclusion = tuple[AdviceVerdict, str, list[str]]
"""Verdict, headline, and the sentences that decided."""


def _decide_verdict(
    inputs: AdviceInputs, forecasts: tuple[Forecast, ...], settings: AdviceSettings
) -> _Conclusion:
    base, latest, commonest = inputs.base_wer, inputs.latest, inputs.most_frequent_error
    if base is None:
        why = "No word of a test set was scored with the base model. Correct more sessions and publish the splits."
        return "collect_more", "Not yet: nobody knows how the base model does on your speech", [why]
    if base.value < settings.base_wer_from:
        return (
            "do_not",
            "Do not fine-tune: the base model hears your speech well",
            [_describe_base_wer(base, settings)],
        )
    if commonest is not None and commonest.share > settings.one_term_share:
        why = (
            f"At least {_format_percent(commonest.share)} of the base model's errors are {commonest.term!r}, more than "
            f"{_format_percent(settings.one_term_share)}: a term is taught by the vocabulary or the prompt of the "
            "recogniser, without training."
        )
        return "do_not", f"Do not fine-tune: add {commonest.term!r} to the vocabulary or the prompt", [why]
    if inputs.hours < settings.fewest_hours and not _is_proven(latest):
        headline = f"Do not fine-tune yet: {inputs.hours:.1f} of {settings.fewest_hours:g} hours"
        return "collect_more", headline, [_describe_hours(inputs, settings)]
    if latest is None:
        return "fine_tune", "Fine-tune: train the first version", [_describe_base_wer(base, settings)]
    return _decide_after_training(inputs, latest, forecasts, settings)


def _decide_after_training(
    inputs: AdviceInputs, latest: LatestVersion, forecasts: tuple[Forecast, ...], settings: AdviceSettings
) -> _Conclusion:
    """The verdict where a version was trained and measured."""
    why = [_describe_improvement(latest)]
    if inputs.hours < settings.fewest_hours:
        why.append(
            f"There are {inputs.hours:.1f} usable hours, fewer than the {settings.fewest_hours:g} of the rule of "
            "thumb; what was measured on your own speech outranks it."
        )
    furthest = max(forecasts, key=lambda each: each.more_hours, default=None)
    if furthest is not None and furthest.probability < settings.worth_probability:
        return _decide_stopping(latest, [*why, _describe_small_gain(furthest, settings)])
    if furthest is not None:
        why.append(_describe_gain(furthest, settings))
    if not _is_proven(latest):
        return "collect_more", f"Collect more: {latest.name} is not surely better than the base model", why
    if latest.verdict == "collect_more":
        return "collect_more", f"Collect more: {latest.name} helps, and not enough yet", [*why, latest.main_reason]
    if latest.verdict == "refuse":
        headline = f"Fine-tune again: training helps, and {latest.name} breaks something else"
        return "fine_tune", headline, [*why, latest.main_reason]
    return "fine_tune", f"Fine-tune: {latest.name} shows that it pays", why


def _decide_stopping(latest: LatestVersion, why: list[str]) -> _Conclusion:
    """The verdict where more hours would hardly help."""
    if not _is_proven(latest):
        return "do_not", "Do not fine-tune: it has not helped, and more hours would hardly help", why
    if latest.verdict == "collect_more":
        headline = f"Do not go on: {latest.name} helps too little, and more hours would hardly change that"
        return "do_not", headline, [*why, latest.main_reason]
    if latest.verdict == "refuse":
        headline = f"Stop collecting and fine-tune again: {latest.name} helps, and breaks something else"
        return "fine_tune", headline, [*why, latest.main_reason]
    return "fine_tune", f"Stop collecting: {latest.name} is about what more of your speech can give", why


def _list_observations(
    inputs: AdviceInputs, forecasts: tuple[Forecast, ...], settings: AdviceSettings
) -> list[str]:
    """What else is worth knowing, whatever was decided."""
    base, latest = inputs.base_wer, inputs.latest
    facts = []
    if base is not None:
        facts.append(_describe_base_wer(base, settings))
        facts += [] if latest is None else [_describe_improvement(latest)]
    if not _is_proven(latest) or inputs.hours >= settings.fewest_hours:
        facts.append(_describe_hours(inputs, settings))
    if latest is not None and latest.hours_since >= _MIN_NEW_HOURS:
        facts.append(
            f"{latest.hours_since:.1f} usable hours have come since {latest.name}: the next version hears them "
            "without anybody collecting more."
        )
    if not forecasts:
        facts.append(
            "There is no forecast: it takes the base model and a version on one test set of two sessions. "
            "Published for Whisper on dialects: 2–5 h remove 15–20\u00a0% of the errors, 8–20 h "
            "30–40\u00a0%, 50 h 50\u00a0%."
        )
    return facts


def _make_forecasts(curve: LearningCurve | None, settings: AdviceSettings) -> tuple[Forecast, ...]:
    if curve is None:
        return ()
    return tuple(
        Forecast(
            more_hours=more,
            hours=curve.present_hours + more,
            wer=curve.wer(curve.present_hours + more),
            reduction=curve.reduction(more),
            probability=curve.probability(more, settings.worth_removing),
        )
        for more in settings.more_hours
    )


def _is_proven(latest: LatestVersion | None) -> bool:
    """Whether the interval of its improvement excludes none."""
    return latest is not None and latest.improvement is not None and latest.improvement.low > 0


def _describe_base_wer(base: Interval, settings: AdviceSettings) -> str:
    sentence = (
        f"The base model gets {100 * base.value:.1f}\u00a0% of the words wrong ({100 * base.low:.1f} to "
        f"{100 * base.high:.1f}), {'below' if base.value < settings.base_wer_from else 'above'} the "
        f"{_format_percent(settings.base_wer_from)} at which fine-tuning begins to pay"
    )
    is_unsure = base.low < settings.base_wer_from <= base.high
    return f"{sentence}; that bound lies within the interval." if is_unsure else f"{sentence}."


def _describe_hours(inputs: AdviceInputs, settings: AdviceSettings) -> str:
    hours, months, fewest = inputs.hours, inputs.months, settings.fewest_hours
    pace = hours / months if months >= 1 else None
    since = f" from {months:.1f} months of use" if months >= 1 else " from less than a month of use"
    if hours >= fewest:
        return f"There are {hours:.1f} usable hours{since}, not fewer than the {fewest:g} it takes."
    wait = f"; at this pace in about {max(1, round((fewest - hours) / pace))} months" if pace else ""
    return f"There are {hours:.1f} usable hours{since}, fewer than the {fewest:g} it takes{wait}."


def _describe_improvement(latest: LatestVersion) -> str:
    if latest.improvement is None:
        return f"{latest.name} was not compared with the base model."
    found = (
        f"{latest.name}, trained on {latest.trained_hours:.1f} h, makes {_format_percent(latest.improvement.value)} fewer "
        f"errors than the base model (95\u00a0% interval {_format_interval(latest.improvement)})"
    )
    return f"{found}." if _is_proven(latest) else f"{found}, which does not exclude none."


def _describe_small_gain(furthest: Forecast, settings: AdviceSettings) -> str:
    return (
        f"{furthest.more_hours:g} more hours would remove at least {_format_percent(settings.worth_removing)} of today's "
        f"errors with a probability of {furthest.probability_text}, below {_format_percent(settings.worth_probability)}: "
        "people's time is better spent elsewhere."
    )


def _describe_gain(furthest: Forecast, settings: AdviceSettings) -> str:
    return (
        f"{furthest.more_hours:g} more hours are expected to remove {_format_percent(furthest.reduction.value)} of today's "
        f"errors ({_format_interval(furthest.reduction)}); at least {_format_percent(settings.worth_removing)} with a probability of "
        f"{furthest.probability_text}, not below {_format_percent(settings.worth_probability)}."
    )


def _format_interval(interval: Interval) -> str:
    return f"{_format_percent(interval.low)} to {_format_percent(interval.high)}"


def _format_percent(share: float) -> str:
    return f"{100 * share:.0f}\u00a0%"
