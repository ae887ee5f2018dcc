"""The consent texts: the shipped ones, and what a changed or misnamed file means."""

import hashlib
from pathlib import Path

import pytest

from habla_ml.errors import SettingsError
from habla_ml.inbox.consent_texts import choose_offered_texts, keep_consent_text, load_consent_texts
from habla_ml.inbox.database import open_database
from habla_ml_tests.testing.deployment_settings import PROJECT, write_settings

SHIPPED = PROJECT / "configs" / "consents"


def test_every_shipped_text_exists_in_spanish_and_english_with_as_many_paragraphs() -> None:
    texts = load_consent_texts(SHIPPED)
    by_version: dict[tuple[str, int], dict[str, str]] = {}
    for each in texts:
        by_version.setdefault((each.document, each.version), {})[each.language] = each.text
        assert each.digest == hashlib.sha256(each.text.encode()).hexdigest()
        assert each.title
    assert all(set(each) == {"en", "es"} for each in by_version.values())
    assert all(each["en"].count("\n\n") == each["es"].count("\n\n") for each in by_version.values())


def test_only_the_newest_version_of_a_document_is_offered(tmp_path: Path) -> None:
    for name in ("voice-2.es.md", "voice-10.es.md", "voice-10.en.md", "film-1.es.md"):
        (tmp_path / name).write_text(f"# {name}\n", "utf-8")
    offered = choose_offered_texts(load_consent_texts(tmp_path))
    assert [(each.document, each.version, each.language) for each in offered] == [
        ("film", 1, "es"),
        ("voice", 10, "en"),
        ("voice", 10, "es"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("voice.es.md", b"# Voz\n", "is not the name of a consent text"),
        ("voice-0.es.md", b"# Voz\n", "is not the name of a consent text"),
        ("voice-1.es.md", b"Voz\n", "no title"),
        ("voice-1.es.md", b"# Voz \xff\n", "is not UTF-8"),
        ("voice-1.es.md", b"# Voz\n" + b"x" * 100_000, "over 100000 bytes"),
        ("voice-1.txt", b"# Voz\n", "has no consent text"),
    ],
)
def test_a_file_that_is_no_consent_text_is_refused(tmp_path: Path, name: str, content: bytes, fault: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SettingsError, match=fault):
        load_consent_texts(tmp_path)


def test_a_text_that_changed_after_a_consent_needs_a_new_version(tmp_path: Path) -> None:
    database = open_database(write_settings(tmp_path))
    for text in ("# Voz\n", "# Voz\n", "# La voz\n"):
        (tmp_path / "voice-1.es.md").write_text(text, "utf-8")
        (loaded,) = load_consent_texts(tmp_path)
        with database.write() as connection:
            if text == "# La voz\n":
                with pytest.raises(SettingsError, match=r"voice-1\.es\.md has changed"):
                    keep_consent_text(connection, loaded)
            else:
                keep_consent_text(connection, loaded)
