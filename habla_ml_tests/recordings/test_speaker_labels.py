import pytest

from habla_ml.recordings.speaker_labels import global_speaker, is_local_speaker_label
from habla_ml.recordings.upload_names import get_upload_session_id


@pytest.mark.parametrize(
    "label",
    [
        "Speaker A",
        "speaker z",
        "SPEAKER_00",
        "SPEAKER_12",
        "Hablante 3",
        "spk-2",
        "unknown",
        "",
        "  ",
        None,
        "7",
        "B",
    ],
)
def test_labels_of_trackers_are_local_to_their_session(label):
    assert is_local_speaker_label("s1", label)


@pytest.mark.parametrize("label", ["Lucía", "Marta P.", "student-14", "Speaker Wagner", "Al"])
def test_a_name_is_the_same_person_in_every_session(label):
    assert not is_local_speaker_label("s1", label)


def test_speaker_a_of_two_sessions_is_two_speakers_and_a_name_is_one():
    assert global_speaker("s1", "Speaker A") != global_speaker("s2", "Speaker A")
    assert global_speaker("s1", " Lucía ") == global_speaker("s2", "Lucía")


@pytest.mark.parametrize("label", ["1001", "B", "spk-2"])
def test_the_pseudonym_of_an_uploaded_clip_is_one_person_whatever_it_looks_like(label):
    first, second = (get_upload_session_id("phone", name) for name in ("1", "2"))
    assert global_speaker(first, label) == global_speaker(second, label) == label.lower()
    assert is_local_speaker_label(first, None)
    assert is_local_speaker_label(first, "Unknown")
