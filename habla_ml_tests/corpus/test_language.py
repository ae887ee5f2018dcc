"""The heuristic's two errors: Spanish that is called foreign, and English that passes."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from habla_ml.corpus.language import detect_language
from habla_ml.demo.classroom import write_castilian_set

ENGLISH = """
Good morning everybody, please sit down. | Open your books at page twelve. | Can you repeat that, please?
What is the capital of France? | I don't understand this exercise. | My name is Lucía and I am ten years old.
Where is the library? | She likes playing football with her friends. | May I go to the bathroom?
How many pencils do you have? | The weather is nice today. | We are going to read a story. | Close the door, please.
There are three cats in the garden. | He doesn't want to eat his lunch. | Listen and repeat after me.
It is time to clean up. | Who can answer the question? | Yesterday we visited the museum.
Thank you very much for your help. | Raise your hand before you speak. | Write your name on the paper.
I forgot my homework at home. | Is it raining outside? | Let's sing the song again. | This is my brother.
They were talking all the time. | Turn off the lights. | Blue, green, yellow, red. | Hello children.
Very good, Pablo. | Monday, Tuesday, Wednesday. | Do you speak English? | My favourite colour is green.
Be quiet, please. | Ten plus five equals fifteen. | Have you finished the exercise? | Look at the blackboard.
I would like some water. | When is your birthday?
"""


def test_at_least_four_of_five_english_classroom_sentences_are_recognised() -> None:
    sentences = [each.strip() for each in ENGLISH.replace("\n", "|").split("|") if each.strip()]
    assert len(sentences) == 40
    assert sum(detect_language(each) == "en" for each in sentences) >= 32
    assert not [each for each in sentences if detect_language(each) == "es"]


@pytest.mark.long
def test_no_sentence_of_the_demo_is_detected_as_english(tmp_path: Path) -> None:
    write_castilian_set(tmp_path, 60, seed=3)
    with (tmp_path / "fine_tune_dataset.csv").open(encoding="utf-8") as handle:
        sentences = [row["transcript"] for row in csv.DictReader(handle)]
    assert len(sentences) == 60
    assert {detect_language(each) for each in sentences} <= {"es", None}


@pytest.mark.parametrize(
    "sentence",
    [
        "El weekend vamos al shopping.",
        "Profe, ¿cómo se dice good morning?",
        "The boy significa el niño.",
        "Is no se escribe así.",
        "he visto a harry potter en la tele",
        "No me has hecho caso.",
    ],
)
def test_a_spanish_sentence_with_english_words_is_spanish(sentence: str) -> None:
    assert detect_language(sentence) in {"es", None}


@pytest.mark.parametrize("text", ["", "...", "12 34", "¿?"])
def test_a_text_without_words_has_no_language(text: str) -> None:
    assert detect_language(text) is None


@pytest.mark.parametrize("text", ["Привет, как дела?", "你好世界", "مرحبا بكم"])
def test_another_script_is_detected(text: str) -> None:
    assert detect_language(text) == "other script"
