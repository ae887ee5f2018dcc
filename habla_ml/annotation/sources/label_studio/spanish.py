"""Spanish texts of the labelling page for review reasons and rules of the conventions, which are stored in English."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_REASONS: Final[Mapping[str, str]] = {
    "unsure": "el modelo duda (seguridad: {})",
    "disputed": "dos transcripciones difieren en el {} de las palabras",
    "perhaps no speech": "puede que no hable nadie ({})",
    "Habla unsure": "Habla duda (seguridad: {})",
    "rejected": "Habla no transcribió nada",
    "quiet": "se oye bajo ({})",
    "new speaker": "voz con poco transcrito ({})",
    "random": "elegido al azar",
    "conventions": "no cumple las convenciones: {}",
}
"""Kind of a reason → its text; `{}` is the figure or the rules that the reason names."""
_RULES: Final[Mapping[str, str]] = {
    "doubled spaces": "espacios dobles",
    "unknown marker": "marca entre corchetes desconocida",
    "look-alike letter": "letra de otro alfabeto",
    "decomposed accent": "tilde separada de su letra",
    "marker in round brackets": "marca entre paréntesis",
    "question without ¿": "pregunta sin ¿",
    "¿ without question mark": "¿ sin ?",
    "exclamation without ¡": "exclamación sin ¡",
    "¡ without exclamation mark": "¡ sin !",
    "digits": "cifras en vez de letras",
    "only letters and marks": "caracteres que no son letras ni signos",
    "letter foreign to Spanish": "letra ajena al español",
    "abbreviated word": "palabra abreviada",
    "acronym like a hesitation": "siglas que parecen una vacilación",
    "prefix with a hyphen": "prefijo con guion suelto",
    "sign before a number": "signo delante de un número",
}
"""Rule of the conventions in `configs/conventions/` → its description."""
_FIGURE: Final = re.compile(r"(?P<number>-?\d+(?:\.\d+)?) ?(?P<unit>%|dBFS|min)")


def translate_reason(reason: str) -> str:
    """Return the Spanish text of a review reason `kind: details`; a reason of an unknown kind stays as it is."""
    kind, _, details = reason.partition(": ")
    text = _REASONS.get(kind)
    if text is None:
        return reason
    if kind == "conventions":
        return text.format(translate_rules(details.split(", ")))
    figure = _FIGURE.search(details)
    return text.format(f"{figure['number'].replace('.', ',')} {figure['unit']}" if figure else "?")


def translate_rules(rules: list[str] | tuple[str, ...]) -> str:
    """Return the Spanish descriptions of rules; a rule of other conventions keeps its name."""
    return ", ".join(_RULES.get(each, each) for each in rules)
