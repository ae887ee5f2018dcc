"""The pages' languages: every message has a translation that fits, and the person's language is found."""

from importlib.resources import files

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

from habla_ml.service.pages.languages import LANGUAGES, SOURCE_LANGUAGE, choose_language, load_translations

PACKAGE = "habla_ml.service.pages"
METHODS = [("**.py", "python"), ("**.j2", "jinja2")]
OPTIONS = {"**.j2": {"trimmed": "true", "newstyle": "true"}}


def extract_messages() -> Catalog:
    catalogue = Catalog()
    folder = str(files(PACKAGE))
    for name, line, message, comments, context in extract_from_dir(
        folder, METHODS, OPTIONS, keywords={"_": None, "gettext": None, "ngettext": (1, 2), "mark_message": None}
    ):
        catalogue.add(message, None, [(name, line)], auto_comments=comments, context=context)
    return catalogue


@pytest.mark.parametrize("language", [each for each in LANGUAGES if each != SOURCE_LANGUAGE])
def test_every_message_has_a_translation_that_fits_and_no_translation_is_left_over(language: str) -> None:
    with (files(PACKAGE) / "catalogues" / f"{language}.po").open("rb") as source:
        translated = read_po(source, locale=language)
    needed = {each.id: each for each in extract_messages() if each.id}
    known = {each.id: each for each in translated if each.id}
    assert set(known) == set(needed)
    incomplete = [
        each.id for each in known.values() if each.fuzzy or not all(each.string if each.pluralizable else [each.string])
    ]
    assert incomplete == []
    assert [str(error) for each in known.values() for error in each.check(translated)] == []


def test_the_catalogue_is_used_as_it_is_in_the_package() -> None:
    assert load_translations("es").gettext("Skip to the content") == "Ir al contenido"
    assert load_translations("en").gettext("Skip to the content") == "Skip to the content"


@pytest.mark.parametrize(
    ("chosen", "header", "expected"),
    [
        (("", ""), "", "es"),
        (("", ""), "en-GB,en;q=0.8", "en"),
        (("", ""), "de, en;q=0.5, es;q=0.9", "es"),
        (("", ""), "es-ES;q=0.2,en;q=0.9", "en"),
        (("", ""), "en;q=0, de", "es"),
        (("", ""), "en;q=high,;;,=", "es"),
        (("en", "es"), "es", "en"),
        (("", "en"), "es", "en"),
        (("xx", "<script>"), "en", "en"),
    ],
)
def test_the_language_is_the_accounts_the_chosen_one_or_the_best_of_the_browsers(
    chosen: tuple[str, str], header: str, expected: str
) -> None:
    assert choose_language(chosen, header) == expected
