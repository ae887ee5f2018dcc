"""The generated pages are those of the code."""

from tools.reference_pages import FOLDER, render_commands, render_settings

REMEDY = "run `python -m tools.reference_pages`"


def test_the_page_of_the_settings_is_that_of_the_code() -> None:
    assert (FOLDER / "settings.md").read_text("utf-8") == render_settings(), REMEDY


def test_the_page_of_the_commands_is_that_of_the_code() -> None:
    assert (FOLDER / "commands.md").read_text("utf-8") == render_commands(), REMEDY
