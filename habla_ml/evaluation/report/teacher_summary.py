"""The result in Spanish for teachers, in four or five plain sentences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from habla_ml.evaluation.comparison.records import Comparison, ModelScore
from habla_ml.evaluation.promotion.rule import Verdict
from habla_ml.evaluation.report.content import ReportContent

TITLE: Final = "Para el profesorado"
_VERDICTS: Final[dict[Verdict, str]] = {
    "deploy": "La versión {name} se puede publicar.",
    "keep": "De momento se mantiene {release}: no está claro que {name} reconozca mejor.",
    "collect_more": "Todavía no se publica: conviene corregir más clases y volver a entrenar.",
    "refuse": "La versión {name} no se publica; más abajo se explica por qué.",
}


def summarise_for_teachers(content: ReportContent) -> tuple[str, ...]:
    """Return the sentences; empty for a comparison that decides no release or scored no speech."""
    return tuple(_write_sentences(content))


def _write_sentences(content: ReportContent) -> Iterator[str]:
    comparison, decision = content.comparison, content.decision
    candidate, base, previous = (comparison.model(role) for role in ("candidate", "base", "previous"))
    if decision is None or candidate is None or base is None or candidate.wer.value is None or base.wer.value is None:
        return
    released = f", y la versión publicada ({previous.name}), {_count(previous)}" if previous else ""
    yield (
        f"De cada 100 palabras dichas en clase, la versión {candidate.name} reconoce mal {_count(candidate)}. El modelo "
        f"de partida reconoce mal {_count(base)}{released}."
    )
    yield _VERDICTS[decision.verdict].format(
        name=candidate.name, release=previous.name if previous else "el modelo actual"
    )
    if content.override:
        yield "Una persona ha decidido otra cosa y lo ha firmado; más abajo se explica."
    yield (
        f"Se ha medido con {comparison.test.words} palabras de {comparison.test.sessions} clases que no se usaron para "
        f"entrenar. {_describe_certainty(comparison)}"
    )
    quiet = _count_quiet(comparison, candidate.name)
    if quiet:
        yield f"Cuando se habla bajo, reconoce mal {quiet} de cada 100 palabras."
    if content.has_error_tables:
        yield "Al final de la página se puede escuchar cada frase y ver qué palabras se reconocieron mal."


def _describe_certainty(comparison: Comparison) -> str:
    change = comparison.change("base")
    relative = change.relative_improvement if change else None
    if relative is None:
        return "No se sabe cuánto cambian los errores respecto al modelo de partida."
    low, high = round(100 * relative.low), round(100 * relative.high)
    if relative.low > 0:
        return f"Respecto al modelo de partida comete entre un {low} % y un {high} % menos de errores (confianza del 95 %)."
    if relative.high < 0:
        return f"Respecto al modelo de partida comete entre un {-high} % y un {-low} % más de errores (confianza del 95 %)."
    return "Con tan pocas clases no se puede asegurar que mejore al modelo de partida."


def _count_quiet(comparison: Comparison, name: str) -> str:
    for each in comparison.slices:
        if each.dimension == "loudness" and each.name.startswith("quiet") and each.words and not each.too_small:
            value = next(rate.rate.value for rate in each.rates if rate.model == name)
            return "" if value is None else _format(100 * value)
    return ""


def _count(model: ModelScore) -> str:
    return "–" if model.wer.value is None else _format(100 * model.wer.value)


def _format(value: float) -> str:
    """Return a number with a decimal comma."""
    return f"{value:.1f}".replace(".", ",")
