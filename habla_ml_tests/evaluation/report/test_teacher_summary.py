"""The result in Spanish for teachers."""

from __future__ import annotations

import pytest

from habla_ml.evaluation.comparison.records import Comparison
from habla_ml.evaluation.promotion.rule import Decision, Verdict
from habla_ml.evaluation.report.content import ReportContent
from habla_ml.evaluation.report.html import render_html
from habla_ml.evaluation.report.markdown import render_markdown
from habla_ml.evaluation.report.teacher_summary import summarise_for_teachers
from habla_ml.evaluation.scoring.statistics import Interval
from habla_ml_tests.testing.full_comparison import make_full_comparison
from habla_ml_tests.testing.simulated_hypotheses import make_comparison, make_utterances


def summarise(comparison: Comparison, verdict: Verdict) -> list[str]:
    return list(summarise_for_teachers(ReportContent(comparison, Decision(verdict=verdict, reasons=(), evidence="e"))))


def test_the_sentences_count_wrong_words_of_a_hundred_without_jargon() -> None:
    comparison, _ = make_full_comparison()
    sentences = summarise(comparison, "deploy")
    base, previous, candidate = (f"{100 * (model.wer.value or 0):.1f}".replace(".", ",") for model in comparison.models)
    assert sentences[0] == (
        f"De cada 100 palabras dichas en clase, la versión v2 reconoce mal {candidate}. El modelo de partida reconoce "
        f"mal {base}, y la versión publicada (v1), {previous}."
    )
    assert sentences[1] == "La versión v2 se puede publicar."
    assert "menos de errores (confianza del 95 %)" in sentences[2]
    assert sentences[3].startswith("Cuando se habla bajo, reconoce mal ")
    text = " ".join(sentences)
    assert not any(term in text for term in ("WER", "bootstrap", "intervalo", "hipótesis"))


@pytest.mark.parametrize(
    ("verdict", "part"),
    [("keep", "se mantiene v1"), ("collect_more", "Todavía no se publica"), ("refuse", "v2 no se publica")],
)
def test_every_verdict_has_its_sentence(verdict: Verdict, part: str) -> None:
    assert part in summarise(make_full_comparison()[0], verdict)[1]


def test_equal_and_worse_models_are_not_called_better() -> None:
    utterances = make_utterances(6, 6)
    equal = " ".join(summarise(make_comparison(utterances, {"base": 0.3, "candidate": 0.3}), "refuse"))
    assert "no se puede asegurar que mejore" in equal
    worse = " ".join(summarise(make_comparison(utterances, {"base": 0.1, "candidate": 0.5}), "refuse"))
    assert "más de errores" in worse
    assert summarise(make_comparison(utterances, {"base": 0.3}), "refuse") == []


@pytest.mark.parametrize(
    ("interval", "part"),
    [
        (Interval(0.004, 0.05, 0.09), "entre un 0 % y un 9 % menos de errores"),
        (Interval(-0.09, -0.05, -0.004), "entre un 0 % y un 9 % más de errores"),
    ],
)
def test_a_small_but_significant_change_is_not_called_uncertain(interval: Interval, part: str) -> None:
    comparison, _ = make_full_comparison()
    changes = tuple(each.model_copy(update={"relative_improvement": interval}) for each in comparison.changes)
    text = " ".join(summarise(comparison.model_copy(update={"changes": changes}), "collect_more"))
    assert part in text
    assert "no se puede asegurar" not in text


def test_both_forms_have_the_box_and_a_comparison_without_a_release_has_none() -> None:
    comparison, _ = make_full_comparison()
    content = ReportContent(comparison, Decision(verdict="deploy", reasons=(), evidence="e"))
    for shown in (render_html(content), render_markdown(content)):
        assert "Para el profesorado" in shown
        assert "La versión v2 se puede publicar." in shown
    assert "Para el profesorado" not in render_html(ReportContent(comparison))
