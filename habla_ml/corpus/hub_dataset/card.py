"""The card of a pushed dataset: what its reader must know before using it. It names no person and no path of a machine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from habla_ml.corpus.snapshot import OPEN_SPLITS, Snapshot
from habla_ml.hub.licences import name_licence

CARD_FILE: Final = "README.md"
_COLUMNS: Final = """## Columns

| column | content |
|---|---|
| `audio` | `bytes`: FLAC, 16 kHz, mono, 16 bit; `path`: a name for it |
| `sentence` | what the person says, by the conventions above |
| `speaker` | a pseudonym; empty where the speaker is unknown |
| `session` | a pseudonym of the lesson; a split has whole lessons |
| `duration_s` | length in seconds |
| `audio_sha256` | sha256 of the samples; names the clip when you report a fault |

A pseudonym is a digest of a sound of the dataset. No name was used to make it."""
_CONSENT: Final = """## Voices and consent

These are voices of people in class, most of them children. The repository is private and stays so.

- Use the voices only for what the people, and the guardians of minors, have consented to.
- Sentences are what was said in class. They can have the first name of a person.
- Do not identify the speakers. Do not train a synthetic voice on these clips.
- A consent can be withdrawn. The voice is then removed here, with the history and the tags that have it. Delete your copies
  when a tag is gone, and download again."""
_ERASED: Final = """# A private dataset of classroom speech

There is no snapshot here at present. A person withdrew the consent, and what has that voice was removed. Delete copies that
you downloaded. The next snapshot will be without that voice."""


def build_dataset_card(snapshot: Snapshot, tag: str, licence: str, code: str) -> str:
    """Return the card as Markdown with a YAML header for the Hub and for `datasets`.

    The header switches the Hub's viewer off, because it would copy the data to references that no program can clean.
    """
    sections = (
        "# A private dataset of classroom speech",
        f"Andalusian Spanish as it is spoken in class, corrected by people. Tag `{tag}`, licence: {licence}.",
        "\n".join(_write_content(snapshot)),
        "\n".join(_write_origin(snapshot, code)),
        _COLUMNS,
        "\n".join(_write_usage(tag)),
        _CONSENT,
    )
    return _join(_build_header(snapshot, licence), sections)


def build_erased_card() -> str:
    """Return the card of a repository after an erasure, until the next push."""
    return _join({"viewer": False, "license": "other", "license_name": "none"}, (_ERASED,))


def _join(header: dict[str, Any], sections: tuple[str, ...]) -> str:
    from huggingface_hub import DatasetCardData

    return "\n".join(("---", DatasetCardData(**header).to_yaml().strip(), "---", "", "\n\n".join(sections), ""))


def _build_header(snapshot: Snapshot, licence: str) -> dict[str, Any]:
    name, full_name = name_licence(licence)
    files = [{"split": split, "path": f"data/{split}-*.parquet"} for split in OPEN_SPLITS if snapshot.counts[split]]
    return {
        "language": ["es"],
        "license": name,
        "license_name": full_name,
        "task_categories": ["automatic-speech-recognition"],
        "tags": ["andalusian", "habla"],
        "pretty_name": "Classroom speech",
        "viewer": False,
        "configs": [{"config_name": "default", "data_files": files}],
    }


def _write_content(snapshot: Snapshot) -> Iterator[str]:
    yield "## Splits"
    yield ""
    yield "| split | hours | clips |"
    yield "|---|---|---|"
    for split in OPEN_SPLITS:
        yield f"| {split} | {snapshot.hours[split]:.2f} | {snapshot.counts[split]} |"
    yield ""
    yield "A lesson is in one split only. The project can keep further test lessons, which are never published."


def _write_origin(snapshot: Snapshot, code: str) -> Iterator[str]:
    yield "## Origin"
    yield ""
    yield f"- Conventions of the text: {snapshot.conventions}, digest `{snapshot.conventions_digest[:12]}`."
    yield f"- Snapshot of the corpus: `{snapshot.id}`."
    yield f"- Written by habla_ml at `{code}`."


def _write_usage(tag: str) -> Iterator[str]:
    yield "## Load it"
    yield ""
    yield "The repository is private: set `HF_TOKEN` first, and write the name of this repository for `REPOSITORY`."
    yield ""
    yield "```python"
    yield "import io"
    yield ""
    yield "import soundfile"
    yield "from datasets import load_dataset"
    yield ""
    yield f'dataset = load_dataset("REPOSITORY", revision="{tag}")'
    yield 'clip = dataset["train"][0]'
    yield 'samples, rate = soundfile.read(io.BytesIO(clip["audio"]["bytes"]), dtype="float32")'
    yield "```"
    yield ""
    yield 'With torchcodec, `datasets` decodes it itself after `dataset.cast_column("audio", Audio(sampling_rate=16_000))`.'
