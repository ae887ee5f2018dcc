import numpy as np
import pytest

from habla_ml.demo.phonology import PHONOLOGY_RULES, Dialect, apply_dialect, draw_andalusian_dialect
from habla_ml.demo.speech_synthesis import parse_clause, synthesize_speech, text_to_phonemes, write_clause
from habla_ml.demo.synthesis_voices import draw_child_voice
from habla_ml.errors import InputError

EXAMPLES = [(rule, example) for rule in PHONOLOGY_RULES for example in rule.examples]
EVERYTHING = Dialect(tuple((rule.name, 1.0) for rule in PHONOLOGY_RULES))


@pytest.mark.parametrize(
    ("rule", "example"), EXAMPLES, ids=[f"{rule.name}: {example.spelling}" for rule, example in EXAMPLES]
)
def test_a_rule_matches_its_examples(rule, example):
    always = rule.change(parse_clause(example.castilian), lambda: True)
    never = rule.change(parse_clause(example.castilian), lambda: False)
    assert write_clause(always) == example.andalusian
    assert write_clause(never) == example.castilian


def test_rule_names_are_distinct_and_each_rule_has_an_example_that_changes_something():
    assert len({rule.name for rule in PHONOLOGY_RULES}) == len(PHONOLOGY_RULES)
    for rule in PHONOLOGY_RULES:
        assert any(example.castilian != example.andalusian for example in rule.examples), rule.name


@pytest.mark.parametrize(
    ("text", "andalusian_clause"),
    [
        ("los niños", "l|o n|'i|n^|o"),
        ("muchas gracias", "m|'u|S|a Q|**|'a|s|j|a"),
        ("he terminado", "'e t|,e|r|m|i|n|'a|o"),
        ("la ciudad", "l|a s|j|u|'a"),
    ],
)
def test_all_rules_together_give_the_dialect(text, andalusian_clause):
    (spoken,) = apply_dialect(text_to_phonemes(text), EVERYTHING, np.random.default_rng(0))
    assert write_clause(spoken) == andalusian_clause


def test_without_rules_nothing_changes():
    clauses = text_to_phonemes("Los niños han terminado los ejercicios.")
    assert apply_dialect(clauses, Dialect(()), np.random.default_rng(0)) == clauses


def test_a_probability_is_kept_over_many_places():
    dialect = Dialect((("seseo", 0.3),))
    clause = parse_clause(" ".join(["T|a"] * 4000))
    (spoken,) = apply_dialect((clause,), dialect, np.random.default_rng(5))
    changed = sum(word[0] == "s" for word in spoken)
    assert changed / 4000 == pytest.approx(0.3, abs=0.03)


def test_every_dialect_sentence_can_be_spoken():
    rng = np.random.default_rng(2)
    for text in ("¿Habéis acabado los ejercicios de inglés?", "El reloj y el árbol, verdad."):
        spoken = apply_dialect(text_to_phonemes(text), draw_andalusian_dialect(1.0, rng), rng)
        assert len(synthesize_speech(spoken, draw_child_voice(rng))) > 8_000


@pytest.mark.parametrize("rule", [("ceceo", 0.5), ("seseo", 1.5)])
def test_an_unknown_rule_or_a_wrong_probability_is_refused(rule):
    with pytest.raises(InputError, match=rule[0]):
        Dialect((rule,))
