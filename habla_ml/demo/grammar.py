"""Generate classroom sentences of teachers and students, 2 to 4 s long when spoken.

`vocabulary.SLOTS` fills the slots of a template. `{number}` and `{page}` are numbers written as words.
"""

import re
from enum import StrEnum

import numpy as np

from habla_ml.demo.vocabulary import SLOTS, SMALL_NUMBERS, TENS, TWENTIES

_SLOT = re.compile(r"\{(\w+)\}")


class SpeechRegister(StrEnum):
    """Role of the speaker."""

    TEACHER = "teacher"
    STUDENT = "student"


_TEMPLATES: dict[SpeechRegister, tuple[str, ...]] = {
    SpeechRegister.TEACHER: (
        "{command} {thing}, que {teacher_remark}.",
        "{command} {thing} y {task_command} {task} {number}.",
        "{command} {thing} por la página {page}, {polite}.",
        "{name}, {teacher_remark}, {polite}.",
        "{time} {modal} {action} {task} de {subject}.",
        "{task_command} {task} {room_place}, {polite}.",
        "{task_command} {task} de {subject} para {time}.",
        "¿{question_word} {have} {done} {thing}, {name}?",
        "¿Quién ha {done} {task} de {subject}?",
        "¿Cuántos son {number} más {number}, {name}?",
        "¿Cuánto es {number} por {number}?",
        "{math_noun} {math_fact}, {polite}.",
        "¿Por qué {math_noun} {math_fact}?",
        "{science_noun} {science_verb} {science_noun}.",
        "¿Qué {science_verb} {science_noun}, {name}?",
        "{geo_noun} {geo_fact} {place}.",
        "¿{geo_noun} {geo_fact} {place} o {place}?",
        "{history} {history_verb} {place} en el siglo {century}.",
        "¡{name}, {teacher_remark}!",
        "¡Silencio, {polite}, {teacher_remark}!",
        "{past_time} vimos que {math_noun} {math_fact}.",
        "{past_time} hablamos de {history} y de {place}.",
        "{modal} {action} {task} {room_place}.",
        "Este problema es {very} {adjective}, pero {teacher_remark}.",
        "Muy bien, {name}, {math_noun} {math_fact}.",
        "{number} menos {number} no son {number}, {name}.",
        "¿Habéis {done} {thing} {room_place}?",
        "{name} y {name}, {modal} {action} {task}.",
    ),
    SpeechRegister.STUDENT: (
        "{polite}, {pupil_reason}.",
        "{past_time} {home} {home_verb} {thing}.",
        "No {have} {done} {task} porque {pupil_reason}.",
        "{have} {done} {thing} {room_place}.",
        "¿Puedo {play} {time}, {polite}?",
        "¿{modal} {action} {task} de {subject} {time}?",
        "Yo creo que {math_noun} {math_fact}.",
        "El resultado es {number} y sobran {number}.",
        "{number} por {number} son {number}.",
        "A mí me sale {number} {room_place}.",
        "Es que {pupil_reason}, {polite}.",
        "{past_time} estaba {very} {state} y no pude {action} {task}.",
        "{home} está {very} {state}, {polite}.",
        "¿Dónde {have} {done} {thing}, {name}?",
        "{geo_noun} {geo_fact} {place}, ¿no?",
        "Creo que {history} {history_verb} {place}.",
        "{science_noun} {science_verb} {science_noun}, {polite}.",
        "{task} de {subject} es {very} {adjective}.",
        "¿Puedo comerme {food} {room_place}?",
        "Me he dejado {food} y {thing} {room_place}.",
        "{name} {have_one} {done} {thing} de {name}.",
        "Quiero {play} con {name} y con {name}.",
        "¡{name}, {pupil_reason}!",
        "¿{question_word} {modal} {action}, {polite}?",
        "{time} {modal} {play}, ¿verdad?",
        "La página {page} es {very} {adjective}, {polite}.",
        "{home} {home_verb} {food} {past_time}.",
    ),
}

_EXTRA_SLOTS = {"have_one": ("ha", "no ha", "ya ha", "nunca ha")}


def generate_sentence(register: SpeechRegister, rng: np.random.Generator) -> str:
    """Return one sentence in standard spelling, with capital, accents and punctuation."""
    templates = _TEMPLATES[register]
    template = templates[int(rng.integers(len(templates)))]
    text = _SLOT.sub(lambda match: _fill_slot(match.group(1), rng), template)
    return _capitalise(text)


def spell_number(number: int) -> str:
    """Spell a number from 0 to 199, masculine.

    Raises:
        ValueError: The number is outside this range.
    """
    if not 0 <= number <= 199:
        raise ValueError(f"{number} cannot be spelt; use 0 to 199")
    if number >= 100:
        return "cien" if number == 100 else f"ciento {spell_number(number - 100)}"
    if number < 20:
        return SMALL_NUMBERS[number]
    if number < 30:
        return TWENTIES[number - 20]
    ten, one = divmod(number, 10)
    return TENS[ten - 2] + (f" y {SMALL_NUMBERS[one]}" if one else "")


def _fill_slot(slot: str, rng: np.random.Generator) -> str:
    if slot == "number":
        return spell_number(int(rng.integers(2, 60)))
    if slot == "page":
        return spell_number(int(rng.integers(5, 199)))
    choices = SLOTS.get(slot) or _EXTRA_SLOTS[slot]
    return choices[int(rng.integers(len(choices)))]


def _capitalise(text: str) -> str:
    place = next(index for index, character in enumerate(text) if character.isalpha())
    return text[:place] + text[place].upper() + text[place + 1 :]
