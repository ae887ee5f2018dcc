"""What an admission refuses and records, and when withheld sessions are read again."""

from __future__ import annotations

import hashlib
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from habla_ml.consent.admission import (
    UNATTRIBUTED,
    Admission,
    Consents,
    WithheldState,
    merge_withheld,
    open_admission,
    requeue_newly_consented,
)
from habla_ml.consent.register import Contributor, digest_claim
from habla_ml.consent.service_consents import ServiceConsents
from habla_ml.consent.tombstones import Erasure, add_tombstones, drop_erased_rows, read_tombstones
from habla_ml.errors import InputUnavailableError, LakeError
from habla_ml.lake import DirectoryStore, Lake, Pointer, catalogue
from habla_ml_tests.testing.deployment_settings import write_settings

TODAY = date(2026, 5, 1)
ERASURE = Erasure("0" * 64, "2026-05-01T00:00:00+00:00", 3, 0.5, ("v1",), ("v2",), ("school/voices",))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(DirectoryStore(tmp_path / "lake"), tmp_path / "cache")


def make_consents(folder: Path, *entries: dict[str, Any], today: date = TODAY) -> Consents:
    path = folder / "consents.yaml"
    path.write_text(yaml.safe_dump({"contributors": list(entries)}), "utf-8")
    return Consents(path, today, ServiceConsents(write_settings(folder)))


def make_admission(lake: Lake, folder: Path, *entries: dict[str, Any]) -> Admission:
    return open_admission(lake, make_consents(folder, *entries))


def test_an_erased_segment_is_refused_by_its_name_and_by_its_sound(lake: Lake, tmp_path: Path) -> None:
    add_tombstones(lake, ["s-1"], ["a" * 64])
    admission = make_admission(lake, tmp_path)
    reason = "was erased: the consent of its contributor was withdrawn"
    assert admission.explain_refusal("x", None, "s-1", "b" * 64) == reason
    assert admission.explain_refusal("x", None, "s-2", "a" * 64) == reason
    assert admission.explain_refusal("x", None, "s-3", "b" * 64) is None
    admission.save_tombstones()
    assert read_tombstones(lake).segments == {"s-1", "s-2"}, "the copy is erased under its own name too"


def test_a_withdrawn_voice_leaves_tombstones_and_an_awaited_one_leaves_its_claim(lake: Lake, tmp_path: Path) -> None:
    entries = [{"contributor": "ana", "given": "2026-01-01", "withdrawn": "2026-05-01"}, {"contributor": "eva"}]
    admission = make_admission(lake, tmp_path, *entries)
    assert "withdrawn on 2026-05-01" in str(admission.explain_refusal("x", "Ana", "s-1", "a" * 64))
    assert "no consent yet" in str(admission.explain_refusal("x", "Eva", "s-2", "b" * 64))
    assert "no consent yet" in str(admission.explain_annotation_refusal("y", "eva", "s-3"))
    assert [admission.is_awaited("x", each, "s") for each in ("ana", "eva", "luis", None)] == [
        False,
        True,
        False,
        False,
    ]
    assert admission.withheld == {name: {digest_claim("eva", "speaker eva")} for name in ("x", "y")}
    assert admission.awaited_entries == {Contributor(contributor="eva").digest}
    by_segment = make_admission(lake, tmp_path, {"contributor": "eva", "segments": ["s-9"]})
    assert "no consent yet" in str(by_segment.explain_refusal("x", None, "s-9", "b" * 64))
    assert by_segment.withheld == {"x": {digest_claim("eva", "segment s-9")}}
    admission.save_tombstones()
    found = read_tombstones(lake)
    assert (found.segments, found.sounds) == ({"s-1"}, {"a" * 64})


@pytest.mark.parametrize(
    ("session", "speaker", "segment", "is_hers"),
    [("y", "eva", "s", True), ("x-1", None, "s", True), ("y", None, "s-9", True), ("y", "luis", "s", False)],
)
def test_a_segment_waits_by_its_speaker_its_session_or_its_own_name(
    lake: Lake, tmp_path: Path, session: str, speaker: str | None, segment: str, *, is_hers: bool
) -> None:
    admission = make_admission(lake, tmp_path, {"contributor": "eva", "sessions": ["x-*"], "segments": ["s-9"]})
    assert admission.is_awaited(session, speaker, segment) is is_hers
    assert (admission.explain_annotation_refusal(session, speaker, segment) is not None) is is_hers
    assert (admission.explain_refusal(session, speaker, segment, "a" * 64) is not None) is is_hers


def test_the_digest_is_that_of_the_file_as_stored_lakes_have_it(tmp_path: Path) -> None:
    consents = make_consents(tmp_path, {"contributor": "ana", "given": "2026-06-01"})
    assert consents.registry is not None
    assert consents.digest == hashlib.sha256(consents.registry.read_bytes()).hexdigest()[:32]
    assert consents.signature == f"{consents.digest} 2026-06-01", "a consent starts on that day"
    assert not consents.is_empty
    none = Consents(None, TODAY, consents.service)
    assert (none.digest, none.signature, none.is_empty) == (hashlib.sha256(b"").hexdigest()[:32], none.digest, True)
    assert none.register.contributors == ()
    for day, is_unchanged in ((date(2026, 5, 31), True), (date(2026, 6, 1), False)):
        assert (
            make_consents(tmp_path, {"contributor": "ana", "given": "2026-06-01"}, today=day).unchanged_since(
                consents.signature
            )
            is is_unchanged
        )


def test_rows_of_a_table_are_read_again_once_one_of_their_entries_has_consent(tmp_path: Path) -> None:
    ana, eva = (Contributor(contributor=name).digest for name in ("ana", "eva"))
    waiting = make_consents(tmp_path, {"contributor": "ana"}, {"contributor": "eva"})
    assert not waiting.is_granted_for_table("t", [ana, eva])
    assert not waiting.is_granted_for_table("t", [ana, UNATTRIBUTED]), "no entry covers a clip without a speaker"
    half = make_consents(tmp_path, {"contributor": "ana", "given": "2026-01-01"}, {"contributor": "eva"})
    assert half.is_granted_for_table("t", [ana, eva])
    assert not half.is_granted_for_table("t", [eva])
    covering = make_consents(tmp_path, {"contributor": "ana", "sessions": ["t"]})
    assert covering.is_granted_for_table("t", [UNATTRIBUTED])
    assert not covering.is_granted_for_table("other", [UNATTRIBUTED])
    assert Consents(None, TODAY, waiting.service).is_granted_for_table("t", [UNATTRIBUTED])


@pytest.mark.parametrize(
    ("before", "read", "withheld", "expected"),
    [
        (None, ["a"], {"a": {"y", "x"}}, ({"a": ["x", "y"]}, "now")),
        (None, ["a"], {}, None),
        (({"a": ["x"]}, "then"), ["a"], {}, None),
        (({"a": ["x"], "b": ["z"]}, "then"), ["a"], {}, ({"b": ["z"]}, "then")),
        (({"a": ["x"], "b": ["z"]}, "then"), ["a"], {"a": {"y"}}, ({"a": ["y"], "b": ["z"]}, "")),
        (({"a": ["x"], "b": ["z"]}, "now"), ["a"], {"a": {"y"}}, ({"a": ["y"], "b": ["z"]}, "now")),
        (({"a": ["x"]}, "then"), ["a"], {"a": {"y"}}, ({"a": ["y"]}, "now")),
        (({"b": ["z"]}, "then"), ["a"], {"c": {"y"}}, ({"b": ["z"]}, "then")),
    ],
)
def test_withheld_sessions_keep_the_consents_under_which_they_were_read(
    before: tuple[dict[str, list[str]], str] | None, read: list[str], withheld: dict[str, set[str]], expected: Any
) -> None:
    stored = None if before is None else WithheldState(withheld=before[0], consents=before[1])
    found = merge_withheld({"kept": 1, "withheld": {"old": []}, "consents": "old"}, stored, read, withheld, "now")
    state = {} if expected is None else {"withheld": expected[0], "consents": expected[1]}
    assert found == {"kept": 1, **state}


def test_a_change_that_another_process_makes_first_is_left_to_it(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = catalogue.RECORDINGS.name("2026-02-16")
    claim = digest_claim("eva", "speaker eva")
    value = {"inputs": {"a": "1", "b": "2"}, "withheld": {"a": [claim], "b": ["0" * 32]}, "consents": "old"}
    lake.move_pointer(name, value, None)
    stale = lake.read_pointer(name)
    assert stale is not None
    waiting = make_consents(tmp_path, {"contributor": "eva"})
    state = WithheldState(withheld=value["withheld"], consents="old")
    found = requeue_newly_consented(lake, name, state, waiting)
    assert found is not None
    assert found["withheld"] == {"a": [claim]}, "the other claim no longer exists"
    assert found["inputs"] == {"a": "1", "b": f"consent-{waiting.digest}"}
    assert found["consents"] == waiting.signature
    moved = lake.read_pointer(name)
    assert moved is not None
    assert dict(moved.value) == found

    def read_stale(_: str) -> Pointer:
        return stale

    monkeypatch.setattr(lake, "read_pointer", read_stale)
    assert requeue_newly_consented(lake, name, state, waiting) == found
    monkeypatch.undo()
    assert lake.read_pointer(name) == moved
    unchanged = WithheldState(withheld=found["withheld"], consents=waiting.signature)
    assert requeue_newly_consented(lake, name, unchanged, waiting) is None
    assert requeue_newly_consented(lake, name, WithheldState(consents="old"), waiting) is None
    assert requeue_newly_consented(lake, catalogue.RECORDINGS.name("none"), state, waiting) is None
    lake.move_pointer(name, {"inputs": {"a": "1"}}, moved)
    assert requeue_newly_consented(lake, name, state, waiting) == {"inputs": {"a": "1"}}, "read again meanwhile"


def test_rows_of_erased_segments_are_dropped_and_a_renamed_copy_is_erased_by_its_name_too(lake: Lake) -> None:
    add_tombstones(lake, ["s-1"], ["a" * 64])
    rows = [{"segment_id": f"s-{at}", "audio_sha256": sound * 64} for at, sound in enumerate("bbac")]
    assert list(drop_erased_rows(lake, rows)) == [rows[0], rows[3]]
    found = read_tombstones(lake)
    assert (found.segments, found.sounds) == ({"s-1", "s-2"}, {"a" * 64})


def test_a_register_that_cannot_be_read_is_named_and_admits_nothing(lake: Lake, tmp_path: Path) -> None:
    consents = make_consents(tmp_path, {"contributor": "ana", "sesions": ["x"]})
    with pytest.raises(InputUnavailableError, match=r"consents\.yaml is not valid: contributors\.0\.sesions"):
        consents.check_readable()
    with pytest.raises(InputUnavailableError):
        open_admission(lake, consents).explain_refusal("y", "luis", "s", "a" * 64)


def test_tombstones_are_read_as_they_were_stored_also_by_earlier_versions(lake: Lake) -> None:
    added = add_tombstones(lake, ["s-2", "s-1"], ["a" * 64], ["b" * 64], ERASURE)
    assert read_tombstones(lake) == added
    pointer = lake.read_pointer(catalogue.TOMBSTONES)
    assert pointer is not None
    body = lake.get_json(pointer.value["tombstones"])
    assert (body["format"], body["segments"]) == ("habla_ml.tombstones/1", ["s-1", "s-2"])
    (erasure,) = body["erasures"]
    assert (erasure["heard"], erasure.pop("hub_datasets")) == (["v1"], ["school/voices"])
    lake.move_pointer(catalogue.TOMBSTONES, {"tombstones": lake.put_json(body)}, pointer)
    (older,) = read_tombstones(lake).erasures
    assert (older.trained, older.evaluated, older.hub_datasets) == (("v1",), ("v2",), ())
    for damaged in ({**body, "format": "habla_ml.tombstones/9"}, []):
        damaged_id = lake.put_json(damaged)
        lake.move_pointer(catalogue.TOMBSTONES, {"tombstones": damaged_id}, lake.read_pointer(catalogue.TOMBSTONES))
        with pytest.raises(LakeError, match=f"object {damaged_id} contains no tombstones of format"):
            read_tombstones(lake)


def test_a_consent_that_starts_later_is_awaited_until_its_day(tmp_path: Path) -> None:
    entry = {"contributor": "ana", "given": (TODAY + timedelta(days=1)).isoformat()}
    assert [each.contributor for each in make_consents(tmp_path, entry).awaited] == ["ana"]
    assert make_consents(tmp_path, entry, today=TODAY + timedelta(days=1)).awaited == ()
