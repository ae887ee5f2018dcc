import io
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from habla_ml.corpus.snapshot import Utterance
from habla_ml.errors import EvaluationError
from habla_ml.lake import Lake, compute_digest
from habla_ml.lake.table import put_table, read_table
from habla_ml.transcription.engine import Clip, Hypothesis, RecognisedWord
from habla_ml.transcription.hypothesis_cache import read_hypotheses, read_usage, save_hypotheses, transcribe_cached
from habla_ml.transcription.isolated import IsolatedTranscriber
from habla_ml.transcription.options import DecodingOptions

ARTEFACT = "a" * 64
OPTIONS = DecodingOptions(batch_size=2, max_new_tokens=6)


class CountingTranscriber(IsolatedTranscriber):
    """The real transcriber, which counts the clips that it decodes and fails after `survives` clips."""

    def __init__(self, folder: Path, options: DecodingOptions = OPTIONS, survives: int = 1000) -> None:
        super().__init__(folder, options, "cpu", 1)
        self.decoded = 0
        self.survives = survives

    def transcribe(self, clips: Sequence[Clip]) -> list[Hypothesis]:
        if self.decoded + len(clips) > self.survives:
            raise EvaluationError("power failure")
        self.decoded += len(clips)
        return super().transcribe(clips)


Open = Callable[..., CountingTranscriber]


@pytest.fixture
def open_counting(artefact: Path) -> Iterator[Open]:
    """Opens transcribers and closes them after the test."""
    with ExitStack() as opened:
        yield lambda *args, **values: opened.enter_context(closing(CountingTranscriber(artefact, *args, **values)))


def test_the_second_call_decodes_nothing_and_returns_the_same(
    lake: Lake, open_counting: Open, clips: list[Utterance]
) -> None:
    first, second = open_counting(), open_counting()
    reported: list[tuple[int, int]] = []
    found = transcribe_cached(lake, ARTEFACT, first, clips, lambda done, decoded: reported.append((done, decoded)))
    assert first.decoded == len(clips)
    assert reported[-1] == (9, 9)
    assert transcribe_cached(lake, ARTEFACT, second, clips) == found
    assert second.decoded == 0


def test_only_new_audio_is_decoded_and_equal_audio_once(
    lake: Lake, open_counting: Open, clips: list[Utterance]
) -> None:
    transcribe_cached(lake, ARTEFACT, open_counting(), clips[:3])
    second = open_counting()
    found = transcribe_cached(lake, ARTEFACT, second, [*clips[:5], clips[4], clips[0]])
    assert second.decoded == 2
    assert [each.audio_sha256 for each in found] == [each.audio_sha256 for each in [*clips[:5], clips[4], clips[0]]]


def test_other_options_and_other_artefacts_have_their_own_cache(
    lake: Lake, open_counting: Open, clips: list[Utterance]
) -> None:
    transcribe_cached(lake, ARTEFACT, open_counting(), clips[:2])
    other_artefact = open_counting()
    transcribe_cached(lake, "b" * 64, other_artefact, clips[:2])
    greedy = open_counting(OPTIONS.model_copy(update={"beam_size": 1}))
    transcribe_cached(lake, ARTEFACT, greedy, clips[:2])
    assert (other_artefact.decoded, greedy.decoded) == (2, 2)


def test_a_failure_loses_only_unsaved_clips(lake: Lake, open_counting: Open, clips: list[Utterance]) -> None:
    with pytest.raises(EvaluationError, match="power failure"):
        transcribe_cached(lake, ARTEFACT, open_counting(survives=7), clips, save_every=4)
    assert len(read_hypotheses(lake, ARTEFACT, OPTIONS)) == 4
    second = open_counting()
    assert len(transcribe_cached(lake, ARTEFACT, second, clips)) == 9
    assert second.decoded == 5


def test_what_was_decoded_before_a_failure_is_saved_although_no_save_was_due(
    lake: Lake, open_counting: Open, clips: list[Utterance]
) -> None:
    transcriber = open_counting(survives=7)
    transcriber.batch_clips = 2
    with pytest.raises(EvaluationError, match="power failure"):
        transcribe_cached(lake, ARTEFACT, transcriber, clips)
    assert len(read_hypotheses(lake, ARTEFACT, OPTIONS)) == 6
    assert read_usage(lake, ARTEFACT, OPTIONS).audio_s == pytest.approx(sum(each.duration_s for each in clips[:6]))


def test_concurrent_writers_lose_nothing(lake: Lake) -> None:
    rows = [Hypothesis(f"{at:064x}", f"text {at}", None, 1.0) for at in range(8)]
    with ThreadPoolExecutor(len(rows)) as threads:
        list(threads.map(lambda row: save_hypotheses(lake, ARTEFACT, OPTIONS, {row.audio_sha256: row}), rows))
    assert read_hypotheses(lake, ARTEFACT, OPTIONS) == {row.audio_sha256: row for row in rows}


def test_all_fields_but_times_and_all_failures_are_cached(lake: Lake) -> None:
    words = (RecognisedWord("la", 0.1, 0.2), RecognisedWord("libreta", 0.2, 0.9))
    rows = [
        Hypothesis("0" * 64, "", None, 31.0, "audio", "audio lasts 31.0 s"),
        Hypothesis("1" * 64, "", None, 3.0, "timeout", "took longer than the 60 s"),
        Hypothesis("2" * 64, "", None, 3.0, "crash", "the decoding process crashed on it"),
        Hypothesis("3" * 64, "", None, 3.0, avg_logprob=-1.5, no_speech_prob=0.9),
        Hypothesis("4" * 64, "la libreta", None, 3.0, None, None, -0.2, 0.01, 0.8, words, segments_s=(0.0, 0.92)),
    ]
    save_hypotheses(lake, ARTEFACT, OPTIONS, {row.audio_sha256: replace(row, decode_s=0.1) for row in rows})
    assert list(read_hypotheses(lake, ARTEFACT, OPTIONS).values()) == rows


def test_a_table_from_before_a_field_is_read_without_it(lake: Lake) -> None:
    row = Hypothesis("4" * 64, "la libreta", None, 3.0, segments_s=(0.0, 0.92))
    save_hypotheses(lake, ARTEFACT, OPTIONS, {row.audio_sha256: row})
    [name] = lake.list_pointers("hypotheses/")
    pointer = lake.read_pointer(name)
    assert pointer is not None
    older = read_table(lake, pointer.value["hypotheses"]).drop_columns("segments_s")
    lake.move_pointer(pointer.name, {**pointer.value, "hypotheses": put_table(lake, older)}, pointer)
    assert list(read_hypotheses(lake, ARTEFACT, OPTIONS).values()) == [replace(row, segments_s=None)]


@pytest.mark.long
def test_a_timeout_is_cached_and_not_tried_again(lake: Lake, open_counting: Open, clips: list[Utterance]) -> None:
    hurried = OPTIONS.model_copy(update={"clip_timeout_s": 0.001})
    found = transcribe_cached(lake, ARTEFACT, open_counting(hurried), clips[:2])
    assert [(each.failure, each.text) for each in found] == [("timeout", "")] * 2
    again = open_counting(hurried)
    assert transcribe_cached(lake, ARTEFACT, again, clips[:2]) == found
    assert again.decoded == 0


def test_an_outage_of_a_service_is_not_cached(
    lake: Lake, open_counting: Open, tmp_path: Path, clips: list[Utterance]
) -> None:
    class Down(CountingTranscriber):
        def transcribe(self, clips: Sequence[Clip]) -> list[Hypothesis]:
            return [Hypothesis(each.audio_sha256, "", 0.0, each.duration_s, "service", "503") for each in clips]

    found = transcribe_cached(lake, ARTEFACT, Down(tmp_path), clips[:2])
    assert [each.failure for each in found] == ["service"] * 2
    assert transcribe_cached(lake, ARTEFACT, open_counting(), clips[:2])[0].failure is None


def test_a_table_of_older_options_is_not_read_or_changed(
    lake: Lake, open_counting: Open, clips: list[Utterance]
) -> None:
    old = {key: each for key, each in OPTIONS.model_dump(mode="json").items() if key != "clip_timeout_s"}
    name = f"hypotheses/{ARTEFACT[:16]}/{compute_digest(old)[:16]}"
    table = pa.table({"audio_sha256": [clips[0].audio_sha256], "text": ["old"], "failure": ["it lasts 31 s"]})
    out = io.BytesIO()
    pq.write_table(table, out)
    value = {"artefact": ARTEFACT, "options": old, "hypotheses": lake.put_bytes(out.getvalue()), "count": 1}
    lake.move_pointer(name, value, None)
    assert transcribe_cached(lake, ARTEFACT, open_counting(), clips[:1])[0].text != "old"
    pointer = lake.read_pointer(name)
    assert pointer is not None
    assert pointer.value == value


def test_no_clips_give_no_hypotheses_and_write_nothing(lake: Lake, open_counting: Open) -> None:
    assert transcribe_cached(lake, ARTEFACT, open_counting(), []) == []
    assert list(lake.list_pointers("hypotheses/")) == []
