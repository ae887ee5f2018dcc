"""Evidence is of the present if its test set, conventions and release are those of the lake and the channel now."""

from dataclasses import replace
from pathlib import Path

import pytest

from habla_ml.corpus.snapshot import read_sentences, read_utterances
from habla_ml.evaluation.comparison.stored_evidence import read_stored_comparison
from habla_ml.evaluation.comparison.test_set_digest import compute_test_set_digest
from habla_ml.lake.factory import open_store
from habla_ml.release.publish import publish_release
from habla_ml.release.stale_evidence import find_other_circumstances, read_present_state
from habla_ml_tests.testing.full_lake import make_full_lake
from habla_ml_tests.testing.release_drafts import make_draft, make_release_files

CONVENTIONS = Path(__file__).resolve().parents[2] / "configs" / "conventions"


@pytest.mark.long
def test_fresh_evidence_describes_the_present_until_something_changes(tmp_path: Path) -> None:
    full_lake = make_full_lake(tmp_path)
    lake, settings = full_lake.lake, full_lake.workspace.settings
    store = open_store(settings.release.store)
    evidence = read_stored_comparison(lake, "v2")
    assert evidence.test.utterances == len(list(read_utterances(lake, full_lake.snapshot, "test"))) > 0
    present = read_present_state(lake, store, settings, "v2")
    assert list(find_other_circumstances(evidence, present)) == []

    files = make_release_files(tmp_path / "files", "v1")
    publish_release(store, None, settings.release.channel, make_draft("v1"), files, work_folder=tmp_path / "work")
    found = list(find_other_circumstances(evidence, read_present_state(lake, store, settings, "v2")))
    assert found == [
        "The evidence compares with no release, but v1 is to be replaced now. Materialise `wer_report` again; it decodes "
        "only what is new."
    ]

    present_file = settings.corpus.conventions
    others = [each for each in CONVENTIONS.glob("*.yaml") if each.name != present_file.name]
    corpus = settings.corpus.model_copy(update={"conventions": others[0]})
    other = settings.model_copy(update={"corpus": corpus})
    found = list(find_other_circumstances(evidence, read_present_state(lake, store, other, "v2")))
    assert found[0].startswith("The evidence follows other conventions")

    phone = settings.evaluation.model_copy(update={"serving_profile": "phone"})
    served = settings.model_copy(update={"evaluation": phone})
    found = list(find_other_circumstances(evidence, read_present_state(lake, store, served, "v2")))
    assert found[0].startswith("The evidence was decoded with other options than those of evaluation.serving_profile")

    segment, sentence = next(read_sentences(lake, full_lake.snapshot, "test"))
    corrected = replace(present, test_set=compute_test_set_digest([(segment, f"{sentence} corregida")]))
    assert next(find_other_circumstances(evidence, corrected)).startswith("The evidence is about another test set")
