import pytest

from habla_ml.evaluation.comparison.records import Comparison, DecodingFailures
from habla_ml.evaluation.metrics.diarisation import DiarisationScore, RecordingDiarisation
from habla_ml.evaluation.metrics.term_recall import TermScore
from habla_ml.evaluation.promotion.advice import Advice, AdviceInputs, Forecast
from habla_ml.evaluation.report.content import ReportContent
from habla_ml.evaluation.report.html import render_html
from habla_ml.evaluation.report.markdown import render_markdown
from habla_ml.evaluation.report.sentences import describe_confidence, describe_diarisation, describe_failures
from habla_ml.evaluation.report.summary import summarise
from habla_ml.evaluation.scoring.statistics import Interval
from habla_ml_tests.testing.full_comparison import make_full_comparison
from habla_ml_tests.testing.simulated_hypotheses import make_comparison, make_utterances


@pytest.fixture(scope="module")
def small_comparison() -> Comparison:
    return make_comparison(make_utterances(6, 6), {"base": 0.4, "candidate": 0.1})


def failed(comparison: Comparison, failures: DecodingFailures) -> Comparison:
    base, candidate = comparison.models
    return comparison.model_copy(update={"models": (base, candidate.model_copy(update={"failures": failures}))})


def render_both(comparison: Comparison, training_advice: Advice | None = None) -> tuple[str, str]:
    content = ReportContent(comparison, training_advice=training_advice)
    return render_html(content), render_markdown(content)


def test_speech_that_a_version_may_have_been_trained_on_is_not_called_reserved(small_comparison: Comparison) -> None:
    reserved, warning = "Speech reserved for testing, not used in training.", "Versions may have been trained on it."
    assert all(reserved in each for each in render_both(small_comparison))
    compared = [model.model_copy(update={"role": "compared"}) for model in small_comparison.models[1:]]
    content = ReportContent(
        small_comparison.model_copy(update={"models": (small_comparison.models[0], *compared)}), warning=warning
    )
    assert warning in summarise(content).details
    for page in (render_html(content), render_markdown(content)):
        assert page.count(warning) == 2
        assert reserved not in page


def test_fallback_clips_are_reported_and_are_no_faults(
    small_comparison: Comparison,
) -> None:
    fallback = failed(small_comparison, DecodingFailures(fallback=3, empty=2))
    assert fallback.models[1].failures.faults == 0
    (sentence,) = describe_failures(fallback)
    assert sentence.startswith("The local engine decoded 3 of 36 clips of v2")
    assert all("The local engine decoded 3 of 36 clips of v2" in each for each in render_both(fallback))
    assert all("local engine decoded" not in each for each in render_both(small_comparison))


def test_faults_are_listed_by_kind_without_empty_outputs(small_comparison: Comparison) -> None:
    assert describe_failures(failed(small_comparison, DecodingFailures(empty=4))) == ()
    assert describe_failures(failed(small_comparison, DecodingFailures(timeout=2, crash=1, empty=4))) == (
        "v2 failed on 3 of 36 clips, scored as empty: 2 timeout, 1 crash.",
    )


def test_the_diarisation_error_rate_is_reported_with_its_bound_and_sessions(
    small_comparison: Comparison,
) -> None:
    assert describe_diarisation(small_comparison) == ""
    session = RecordingDiarisation(
        recording="lesson-1", speech_s=50.0, missed_s=5.0, false_alarm_s=1.0, confusion_s=4.0
    )
    score = DiarisationScore(
        recordings=(session, session.model_copy(update={"recording": "lesson-2"})),
        collar_s=0.0,
        is_overlap_scored=True,
        rate=Interval(0.15, 0.2, 0.25),
    )
    measured = small_comparison.model_copy(update={"diarisation": score})
    sentence = describe_diarisation(measured).replace("\u00a0", " ")
    assert "20.0 % (15.0–25.0), not significantly below the acceptable 20 %" in sentence
    assert "10.0 % missed speech" in sentence
    assert "8.0 % speaker confusion" in sentence
    page, text = render_both(measured)
    assert "lesson-2" in page
    assert "Diarisation error rate" in page
    assert "Diarisation error rate" in text


def test_the_training_advice_is_a_section_with_the_main_reasons_and_the_forecasts(
    small_comparison: Comparison,
) -> None:
    rate = Interval(0.1, 0.2, 0.3)
    inputs = AdviceInputs(
        base_wer=rate,
        test_words=100,
        test_sessions=6,
        hours=12.0,
        months=3.0,
        latest=None,
        most_frequent_error=None,
    )
    advice = Advice(
        verdict="collect_more",
        headline="Collect more: v2 helps",
        reasons=("First.", "Second.", "Third.", "Fourth."),
        forecasts=(Forecast(more_hours=5, hours=17.0, wer=rate, reduction=rate, probability=0.8),),
        worth_removing=0.1,
        inputs=inputs,
    )
    for form in render_both(small_comparison, advice):
        assert "Should I fine-tune? How many more hours?" in form
        assert "Collect more: v2 helps" in form
        assert "Third." in form
        assert "Fourth." not in form, "the command prints the rest"
        assert "chance of removing 10\u00a0% or more" in form
        assert "80\u00a0%" in form
    assert all("Should I fine-tune" not in each for each in render_both(small_comparison))


def test_confidence_is_worth_a_review_only_if_it_finds_more_errors_than_chance() -> None:
    model = make_full_comparison()[0].models[-1]
    assert model.confidence is not None
    useful = describe_confidence(model)
    assert useful.startswith("The 20\u00a0% of the clips in which v2 is least confident hold ")
    assert "a review that starts with them finds more errors" in useful
    chance = model.confidence.model_copy(update={"errors_in_least_confident": Interval(0.1, 0.25, 0.4)})
    assert "not significantly more" in describe_confidence(model.model_copy(update={"confidence": chance}))
    assert "reports no confidence" in describe_confidence(model.model_copy(update={"confidence": None}))
    flawless = model.confidence.model_copy(update={"errors_in_least_confident": None})
    assert "makes no error" in describe_confidence(model.model_copy(update={"confidence": flawless}))


def test_a_term_that_was_never_spoken_is_not_counted_of_zero() -> None:
    comparison = make_full_comparison()[0]
    assert comparison.vocabulary is not None
    never = TermScore(term="úbeda", reference_count=0, recalled=0, inserted=2)
    models = tuple(each.model_copy(update={"worst": (never,)}) for each in comparison.vocabulary.models)
    changed = comparison.model_copy(update={"vocabulary": comparison.vocabulary.model_copy(update={"models": models})})
    for shown in render_both(changed):
        assert "úbeda never spoken, 2 inserted" in shown
        assert "0 of 0" not in shown
