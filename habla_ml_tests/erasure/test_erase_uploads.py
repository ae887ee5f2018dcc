"""An uploaded voice is found, listed for review and erased like any other, in the lake and in the inbox."""

from pathlib import Path

import pytest
import yaml

from habla_ml.consent.register import Contributor, load_register
from habla_ml.corpus.build import build_day
from habla_ml.erasure.contributor_data import find_withdrawn_days
from habla_ml.erasure.erase import erase, plan_erasure
from habla_ml.inbox.clip_files import CLIP_PREFIX, get_clip_id
from habla_ml.lake import DirectoryStore
from habla_ml.recordings.upload_names import is_upload_session
from habla_ml.review.candidates import gather_pool
from habla_ml_tests.testing.byte_search import find_texts_in_lake
from habla_ml_tests.testing.encoded_audio import make_pcm16_wav
from habla_ml_tests.testing.habla_sessions import NOW, make_noise
from habla_ml_tests.testing.received_clips import DAY, HOUR, Inbox, make_inbox

TEXTS = {1: "Mi perro se llama Canelo.", 2: "Ayer llovió mucho.", 3: "Mañana no hay clase."}


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    """Two clips of c-1, one of c-2, each with a correction and an answer on the page, in the lake and built."""
    registry = tmp_path / "consents.yaml"
    write_register(registry, withdrawn=False)
    inbox = make_inbox(tmp_path, consent={"registry": str(registry)})
    for number, text in TEXTS.items():
        data = make_pcm16_wav(make_noise(2.0, number))
        inbox.receive(number, data, contributor="C-2" if number == 3 else "c-1")
        inbox.add_data_point(number, clip=number, text=text, seen_text=text.upper())
    inbox.ingest()
    for number, segment in enumerate(inbox.read_segments()):
        inbox.add_answer(number, segment, f"Revisado {segment['speaker']}.", seen_text=None)
    inbox.collect()
    workspace = inbox.workspace
    build_day(workspace.lake, DAY, workspace.conventions, workspace.settings)
    return inbox


def write_register(path: Path, withdrawn: bool) -> None:
    mine = {"contributor": "c-1", "given": "2026-01-01"} | ({"withdrawn": "2026-05-01"} if withdrawn else {})
    path.write_text(yaml.safe_dump({"contributors": [mine, {"contributor": "c-2", "given": "2026-01-01"}]}))


def withdraw(inbox: Inbox) -> Contributor:
    registry = inbox.workspace.settings.consent.registry
    assert registry is not None
    write_register(registry, withdrawn=True)
    register = load_register(registry)
    assert find_withdrawn_days(inbox.workspace.lake, register, NOW.date()) == {"c-1": (DAY,)}
    return register.contributors[0]


def test_an_erasure_reaches_segments_texts_and_received_files_and_keeps_the_others(inbox: Inbox) -> None:
    workspace, lake = inbox.workspace, inbox.workspace.lake
    contributor = withdraw(inbox)
    plan = plan_erasure(lake, contributor, workspace.settings, NOW)
    assert len(plan.contributor_data.segments) == 2
    assert all(map(is_upload_session, plan.contributor_data.sessions))
    report = erase(lake, plan, workspace.settings, NOW)
    assert report.segments == 2
    (kept,) = inbox.read_segments()
    assert kept["speaker"] == "C-2"
    assert [get_clip_id(each.key) for each in inbox.store.list(CLIP_PREFIX)] == [kept["file_name"]]
    gone = [TEXTS[1], TEXTS[2], TEXTS[1].upper(), "Revisado c-1."]
    assert find_texts_in_lake(DirectoryStore(workspace.root / "lake"), gone) == []
    database = b"".join(each.read_bytes() for each in (workspace.root / "service").glob("service.sqlite*"))
    assert not [each for each in gone if each.encode() in database]
    assert {each.text for each in inbox.collect()} == {TEXTS[3], "Revisado C-2."}


def test_an_erased_voice_that_is_sent_again_does_not_come_back(inbox: Inbox) -> None:
    workspace = inbox.workspace
    erase(
        workspace.lake, plan_erasure(workspace.lake, withdraw(inbox), workspace.settings, NOW), workspace.settings, NOW
    )
    inbox.receive(9, make_pcm16_wav(make_noise(2.0, 1)), contributor="c-2")
    done = inbox.ingest(HOUR)
    assert (done.segments, done.refused) == (0, 1)
    assert [row["speaker"] for row in inbox.read_segments()] == ["C-2"]


def test_uploads_without_a_text_are_candidates_for_review(inbox: Inbox) -> None:
    inbox.receive(4, make_pcm16_wav(make_noise(2.0, 4)), contributor="c-2")
    inbox.receive(5, make_pcm16_wav(make_noise(2.0, 5)), contributor=None)
    inbox.ingest()
    pool = gather_pool(inbox.workspace.lake, inbox.workspace.settings, "2026-W10")
    found = {each.speaker: each.annotated_minutes for each in pool.members}
    assert found.keys() == {"c-2", "unknown"}
    assert found["c-2"] == pytest.approx(2.0 / 60)
