"""The generated pages are those of the code."""

import pytest

from tools.reference_pages import FOLDER, PAGES


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_that_of_the_code(name: str) -> None:
    assert (FOLDER / name).read_text("utf-8") == PAGES[name](), "run `python -m tools.reference_pages`"


def test_each_page_of_the_folder_is_generated() -> None:
    assert {each.name for each in FOLDER.glob("*.md")} == set(PAGES)
