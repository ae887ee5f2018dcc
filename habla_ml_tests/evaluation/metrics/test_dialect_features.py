"""Compare dialect features with those found by hand and with the rules of the demo's dialect."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from habla_ml.demo.grammar import SpeechRegister, generate_sentence
from habla_ml.demo.phonology import PHONOLOGY_RULES, Dialect, apply_dialect
from habla_ml.demo.speech_synthesis import text_to_phonemes
from habla_ml.demo.synthetic_speakers import make_andalusian_classroom
from habla_ml.evaluation.metrics.dialect_features import (
    DIALECT_FEATURES,
    FEATURE_EXAMPLES,
    DialectFeature,
    find_dialect_features,
)
from habla_ml.evaluation.scoring.normalisation import normalise_spanish


def mark_features(text: str, kind: DialectFeature) -> list[str]:
    """Return the words with a feature, with its letters in brackets."""
    found = find_dialect_features([text])[0]
    return [
        f"{found.words[each.word][: each.start]}[{found.words[each.word][each.start : each.end]}]"
        f"{found.words[each.word][each.end :]}"
        for each in found.features
        if each.feature == kind
    ]


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("final_s_before_pause", "Los niños, las niñas y Luis.", ["niño[s]", "lui[s]"]),
        ("final_s_before_vowel", "Los amigos y las horas", ["lo[s]", "amigo[s]", "la[s]"]),
        ("final_s_before_consonant", "Las casas, los hielos dos", ["la[s]", "lo[s]", "hielo[s]"]),
        ("s_before_consonant", "escuela mismo extraño izquierda", ["e[s]cuela", "mi[s]mo", "e[x]traño", "i[z]quierda"]),
        ("seseo", "gracias zapato lápiz casa cielo", ["gra[c]ias", "[z]apato", "lápi[z]", "[c]ielo"]),
        ("ceceo", "así la casa escuela señor", ["a[s]í", "ca[s]a", "[s]eñor"]),
        ("yeismo", "pollo yo y muy desayuno llave", ["po[ll]o", "[y]o", "desa[y]uno", "[ll]ave"]),
        ("participle_d", "cansado comidas nada todo leído ido", ["cansa[do]", "comi[da]s", "na[da]", "leí[do]"]),
        ("intervocalic_d", "todo nada medio desde puede ido", ["to[do]", "me[di]o", "pue[de]", "i[do]"]),
        ("final_consonant", "comer tienen feliz reloj el", ["come[r]", "tiene[n]", "feli[z]", "relo[j]"]),
        ("vowel_contact", "para ahora no", ["par[a]", "[a]hora"]),
        ("vowel_contact", "la hora, eso hielo", ["l[a]", "[ho]ra"]),
        ("l_before_consonant", "alto pollo multa lado", ["a[l]to", "mu[l]ta"]),
        ("learned_cluster", "examen doctor acción digno", ["e[x]amen", "do[c]tor", "a[c]ción", "di[g]no"]),
        ("jota", "mejor gente guerra jugar", ["me[j]or", "[g]ente", "[j]ugar"]),
        ("che", "mucho coche hecho", ["mu[ch]o", "co[ch]e", "he[ch]o"]),
        ("para", "para la parar", ["pa[ra]"]),
    ],
)  # fmt: skip
def test_features_equal_those_marked_by_hand(kind: DialectFeature, text: str, expected: list[str]) -> None:
    assert mark_features(text, kind) == expected


def test_punctuation_gives_pauses_and_does_not_change_the_words() -> None:
    for text in (
        "Los niños, ayer. Dos",
        "son 3,14 más 1.500; ¿sí? [ruido] fin",
        "uno - dos... y - tres",
        "",
        "¡¿.,",
    ):
        assert find_dialect_features([text])[0].words == tuple(normalise_spanish(text).split())
    assert mark_features("los niños ayer", "final_s_before_pause") == []
    assert mark_features("los niños. Ayer", "final_s_before_pause") == ["niño[s]"]


@given(st.text(alphabet="aeiouáéíñühysczlrdngjxtb ., ", max_size=40))
def test_features_of_any_text_are_inside_its_words(text: str) -> None:
    found = find_dialect_features([text])[0]
    assert found.words == tuple(normalise_spanish(text).split())
    for each in found.features:
        assert 0 <= each.start < each.end <= len(found.words[each.word])


def test_every_feature_has_an_example() -> None:
    assert set(FEATURE_EXAMPLES) == set(DIALECT_FEATURES)


RULE_FEATURES: dict[str, set[DialectFeature]] = {
    "seseo": {"seseo"},
    "yeísmo": {"yeismo"},
    "apócope de para": {"para"},
    "participio en -ao": {"participle_d"},
    "caída de la d intervocálica": {"intervocalic_d", "participle_d"},
    "reducción de grupos cultos": {"learned_cluster"},
    "aspiración de la s ante consonante": {"s_before_consonant"},
    "aspiración o pérdida de la s final": {
        "final_s_before_pause", "final_s_before_vowel", "final_s_before_consonant", "final_consonant"
    },
    "aspiración de la jota": {"jota"},
    "relajación de la che": {"che"},
    "pérdida de la consonante final": {"final_consonant"},
    "rotacismo": {"l_before_consonant"},
    "fusión de vocales entre palabras": {"vowel_contact"},
}  # fmt: skip


@pytest.mark.parametrize("rule", [rule.name for rule in PHONOLOGY_RULES])
def test_every_word_that_the_demos_dialect_changes_has_a_feature(rule: str) -> None:
    rng = np.random.default_rng(3)
    changed = 0
    for at in range(200):
        text = generate_sentence(SpeechRegister.TEACHER if at % 2 else SpeechRegister.STUDENT, rng)
        castilian = text_to_phonemes(text)
        andalusian = apply_dialect(castilian, Dialect(((rule, 1.0),)), rng)
        words = 0
        for before, after in zip(castilian, andalusian, strict=True):
            if len(before) == len(after):
                words += sum(one != other for one, other in zip(before, after, strict=True))
            else:
                words += len(before) - len(after)
        features = {
            each.word for each in find_dialect_features([text])[0].features if each.feature in RULE_FEATURES[rule]
        }
        assert words <= len(features), text
        changed += words
    assert changed >= 5


def test_the_classrooms_speech_has_every_feature() -> None:
    rng = np.random.default_rng(4)
    speaker = make_andalusian_classroom(7).teacher
    found = find_dialect_features([generate_sentence(speaker.register, rng) for _ in range(200)])
    seen = {occurrence.feature for each in found for occurrence in each.features}
    assert seen == set(DIALECT_FEATURES)
