"""Real output of Whisper for spoken numbers: its digits are no errors, and what it misheard stays an error.

`whisper_base_numbers.csv` has sentences in words and what OpenAI's multilingual whisper-base wrote when three espeak voices
spoke them: CTranslate2, int8, beam 5, Spanish, no timestamps, `model.bin` with the sha256 d01c3014881c9c6f. The column
`recognition_errors` has the word errors that remain, checked one by one: all are words that the model misheard, because
the voices are poor, and none is the spelling of a number. Outputs without digits, and those with more than four errors,
are left out.
"""

import csv
from pathlib import Path

import pytest

from habla_ml.evaluation.scoring.alignment import align_words, score_utterances
from habla_ml.evaluation.scoring.normalisation import normalise_spanish

with (Path(__file__).parent / "whisper_base_numbers.csv").open(encoding="utf-8", newline="") as file:
    ROWS = list(csv.DictReader(file))


@pytest.mark.parametrize("row", ROWS, ids=[f"{row['voice']}-{at}" for at, row in enumerate(ROWS)])
def test_only_what_whisper_misheard_is_an_error(row: dict[str, str]) -> None:
    aligned = align_words(normalise_spanish(row["reference"]), normalise_spanish(row["output"]))
    errors = [f"{step.reference or '-'}→{step.hypothesis or '-'}" for step in aligned if step.operation != "equal"]
    assert "; ".join(errors) == row["recognition_errors"]


def test_outputs_that_whisper_recognised_have_no_error_and_are_not_few() -> None:
    right = [row for row in ROWS if not row["recognition_errors"]]
    assert len(ROWS) >= 60
    assert len(right) >= 14
    texts = [row["output"] for row in right], [row["reference"] for row in right]
    for references, hypotheses in (texts, texts[::-1]):
        scores = score_utterances(references, hypotheses, normalise_spanish)
        assert sum(each.words.errors + each.characters.errors for each in scores) == 0
