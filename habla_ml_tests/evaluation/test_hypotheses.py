import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from habla_ml.corpus.snapshot import Utterance
from habla_ml.errors import EvaluationError
from habla_ml.evaluation.hypotheses import read_hypotheses, save_hypotheses, transcribe_cached
from habla_ml.evaluation.transcribe import DecodingOptions, FasterWhisperTranscriber, Hypothesis
from habla_ml.lake import Lake

ARTEFACT = "a" * 64
OPTIONS = DecodingOptions(batch_size=2, max_new_tokens=6)


class Counting(FasterWhisperTranscriber):
    """The real transcriber, which counts what it decodes and breaks down after `survives` clips."""

    def __init__(self, folder: Path, options: DecodingOptions = OPTIONS, survives: int = 1000) -> None:
        super().__init__(folder, options, "cpu", 1)
        self.decoded = 0
        self.survives = survives

    def transcribe(self, utterances: Sequence[Utterance]) -> list[Hypothesis]:
        if self.decoded + len(utterances) > self.survives:
            raise EvaluationError("the power went")
        self.decoded += len(utterances)
        return super().transcribe(utterances)


def test_the_second_call_decodes_nothing_and_returns_the_same(
    lake: Lake, artefact: Path, clips: list[Utterance]
) -> None:
    first, second = Counting(artefact), Counting(artefact)
    told: list[tuple[int, int]] = []
    found = transcribe_cached(lake, ARTEFACT, first, clips, lambda done, decoded: told.append((done, decoded)))
    assert first.decoded == len(clips)
    assert told[-1] == (9, 9)
    assert transcribe_cached(lake, ARTEFACT, second, clips) == found
    assert second.decoded == 0


def test_only_new_audio_is_decoded_and_one_sound_under_two_names_once(
    lake: Lake, artefact: Path, clips: list[Utterance]
) -> None:
    transcribe_cached(lake, ARTEFACT, Counting(artefact), clips[:3])
    counting = Counting(artefact)
    found = transcribe_cached(lake, ARTEFACT, counting, [*clips[:5], clips[4], clips[0]])
    assert counting.decoded == 2
    assert [each.audio_sha256 for each in found] == [
        each.audio_sha256 for each in [*clips[:5], clips[4], clips[0]]
    ]


def test_other_options_and_other_artefacts_have_their_own_cache(
    lake: Lake, artefact: Path, clips: list[Utterance]
) -> None:
    transcribe_cached(lake, ARTEFACT, Counting(artefact), clips[:2])
    other_artefact = Counting(artefact)
    transcribe_cached(lake, "b" * 64, other_artefact, clips[:2])
    greedy = Counting(artefact, OPTIONS.model_copy(update={"beam_size": 1}))
    transcribe_cached(lake, ARTEFACT, greedy, clips[:2])
    assert (other_artefact.decoded, greedy.decoded) == (2, 2)


def test_a_breakdown_loses_at_most_what_was_not_saved(lake: Lake, artefact: Path, clips: list[Utterance]) -> None:
    with pytest.raises(EvaluationError, match="power"):
        transcribe_cached(lake, ARTEFACT, Counting(artefact, survives=7), clips, save_every=4)
    assert len(read_hypotheses(lake, ARTEFACT, OPTIONS)) == 4
    counting = Counting(artefact)
    assert len(transcribe_cached(lake, ARTEFACT, counting, clips)) == 9
    assert counting.decoded == 5


def test_writers_at_the_same_time_lose_nothing(lake: Lake) -> None:
    rows = [Hypothesis(f"{at:064x}", f"text {at}", 0.1, 1.0) for at in range(8)]
    threads = [
        threading.Thread(target=save_hypotheses, args=(lake, ARTEFACT, OPTIONS, {row.audio_sha256: row}))
        for row in rows
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read_hypotheses(lake, ARTEFACT, OPTIONS) == {row.audio_sha256: row for row in rows}


def test_a_failure_is_remembered_as_one(lake: Lake) -> None:
    row = Hypothesis("0" * 64, "", 0.0, 31.0, failure="audio lasts 31.0 s")
    save_hypotheses(lake, ARTEFACT, OPTIONS, {row.audio_sha256: row})
    assert read_hypotheses(lake, ARTEFACT, OPTIONS)[row.audio_sha256] == row


def test_no_utterances_are_no_hypotheses_and_write_nothing(lake: Lake, artefact: Path) -> None:
    assert transcribe_cached(lake, ARTEFACT, Counting(artefact), []) == []
    assert list(lake.pointers("hypotheses/")) == []
