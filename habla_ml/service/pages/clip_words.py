"""Why the review queue chose a clip, in words for teachers. The queue keeps its reasons as `kind: details`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from habla_ml.annotation.sources.label_studio.spanish import translate_reason

_ENGLISH: Final[Mapping[str, str]] = {
    "unsure": "the model is not sure of it ({} sure)",
    "disputed": "two transcripts differ in {} of the words",
    "perhaps no speech": "perhaps nobody speaks ({})",
    "Habla unsure": "Habla is not sure of it ({} sure)",
    "rejected": "Habla wrote nothing for it",
    "quiet": "it is quiet ({})",
    "new speaker": "a voice with little transcribed so far ({})",
    "random": "chosen at random",
    "conventions": "the text does not follow the writing rules: {}",
}
_FIGURE: Final = re.compile(r"-?\d+(?:\.\d+)? ?(?:%|dBFS|min)")


def describe_reason(reason: str, language: str) -> str:
    """Return a reason in a language of the pages; a reason of an unknown kind stays as it is."""
    if language == "es":
        return translate_reason(reason)
    kind, _, details = reason.partition(": ")
    if (text := _ENGLISH.get(kind)) is None:
        return reason
    figure = _FIGURE.search(details)
    return text.format(details if kind == "conventions" else figure[0] if figure else "?")
