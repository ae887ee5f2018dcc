"""Text that a program damaged is found, and no text that a person types."""

import unicodedata

import pytest

from habla_ml.damaged_text import compose_visible, find_damage, is_blank

SENTENCE = "¿Mañana vendrá José Núñez? ¡Sí! Él dijo «pingüino», Íñigo."
TYPED = (
    SENTENCE,
    "",
    "Tom&Jerry; y AT&T; R&B; así",
    "√9 = 3; 5 ± 1; 50 % de C3; ¬",
    "Dijo: “hola” — no… 😂👩\u200d🏫",
    "ÂNGELA, São Paulo, NÃO, à la carte",
    "hola\r\nmundo\t\x0bya\u2028fin\x85",
    r"C:\usuarios\ana, _x_ y \n",
)


@pytest.mark.parametrize("text", TYPED)
def test_a_typed_text_is_not_damaged(text: str) -> None:
    assert find_damage(text) is None


@pytest.mark.parametrize(
    ("codec", "letters"),
    [("cp1252", "áéíóúüñÁÉÍÓÚÜÑ¿¡ºª«»—“”’…€"), ("latin-1", "áéíóúüñÁÉÍÓÚÜÑ¿¡ºª«»"), ("mac_roman", "áéíóúñ¿¡")],
)
def test_utf_8_that_was_read_in_a_code_page_is_damaged(codec: str, letters: str) -> None:
    for letter in letters:
        assert find_damage(f"a{letter}o".encode().decode(codec, "replace")), letter


@pytest.mark.parametrize(
    ("text", "damage"),
    [
        ("Ma\N{REPLACEMENT CHARACTER}ana", "lost letters"),
        ("Ma&ntilde;ana", "HTML entities"),
        ("Ana &amp; Luis", "HTML entities"),
        ("Ma&#241;ana", "HTML entities"),
        (r"Ma\u00f1ana", "escapes of a program"),
        ("Ma%C3%B1ana", "escapes of a program"),
        ("Hola_x000D_", "escapes of a program"),
        ("Ho\0la", "control character"),
        ("\x93hola\x94", "control character"),
        ("\x1b[31mhola", "control character"),
    ],
)
def test_what_a_program_left_in_a_text_is_damage(text: str, damage: str) -> None:
    assert damage in (find_damage(text) or "")


@pytest.mark.parametrize("text", ["", " ", "\u00a0", "\u200b", "\ufeff\n", "\u2800"])
def test_a_text_without_a_visible_character_is_blank(text: str) -> None:
    assert is_blank(text) is (text != "\u2800")  # the braille blank is a letter of its script


@pytest.mark.parametrize("text", ["a", "¿", " . ", "😂"])
def test_a_text_with_a_visible_character_is_not_blank(text: str) -> None:
    assert not is_blank(text)


def test_all_characters_without_width_are_removed_and_line_ends_are_blanks() -> None:
    # The number marks of Arabic and Syriac are format characters too, and are seen.
    for character in map(chr, range(0x80, 0xFFFF)):
        is_format = unicodedata.category(character) == "Cf" and not 0x600 <= ord(character) <= 0x8FF
        if is_format or character == "\u061c" or "VARIATION SELECTOR" in unicodedata.name(character, ""):
            assert compose_visible(f"ho{character}la") == "hola", hex(ord(character))
    assert compose_visible("hola\u2028mundo\u2029ya") == "hola mundo ya"


@pytest.mark.parametrize(
    ("text", "visible"),
    [
        ("la ﬁesta del ﬂan, oﬃcina", "la fiesta del flan, officina"),
        ("n\u0303\u200bo", "ño"),
        ("n\u200b\u0303o", "ño"),
        ("2.ª, 3º, ½, m², CO₂", "2.ª, 3º, ½, m², CO₂"),
        ("\u2066hola\u2069 \u202aqué\u202c", "hola qué"),
        ("un 👍\ufe0f", "un 👍"),
    ],
)
def test_seen_characters_stay(text: str, visible: str) -> None:
    assert compose_visible(text) == visible
    assert compose_visible(visible) == visible
