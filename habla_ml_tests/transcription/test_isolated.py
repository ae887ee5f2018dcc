"""Engines in their own process, which is really stopped and killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from habla_ml.corpus.snapshot import Utterance
from habla_ml.errors import EvaluationError
from habla_ml.transcription.faster_whisper import FasterWhisper
from habla_ml.transcription.isolated import IsolatedTranscriber
from habla_ml.transcription.options import DecodingOptions

pytestmark = pytest.mark.slow

OPTIONS = DecodingOptions(max_new_tokens=12, no_speech_threshold=None)


Open = Callable[..., IsolatedTranscriber]


@pytest.fixture
def open_isolated(artefact: Path) -> Iterator[Open]:
    """Opens transcribers with changed options, and closes them after the test."""

    def open_isolated(folder: Path = artefact, **changes: object) -> IsolatedTranscriber:
        options = OPTIONS.model_copy(update=changes)
        return opened.enter_context(closing(IsolatedTranscriber(folder, options, "cpu", 2)))

    with ExitStack() as opened:
        yield open_isolated


@pytest.fixture
def transcriber(open_isolated: Open) -> IsolatedTranscriber:
    return open_isolated()


@pytest.fixture(scope="module")
def expected(artefact: Path, clips: list[Utterance]) -> list[str]:
    engine = FasterWhisper(artefact, OPTIONS, "cpu", 1)
    return [engine.transcribe([clip])[0].text for clip in clips]


@dataclass
class SignallingClip:
    """A clip that sends a signal to the decoding process each time it is sent, at most `times` times."""

    clip: Utterance
    transcriber: IsolatedTranscriber
    what: signal.Signals
    times: int = 1000

    @property
    def audio_sha256(self) -> str:
        return self.clip.audio_sha256

    @property
    def duration_s(self) -> float:
        return self.clip.duration_s

    @property
    def audio(self) -> np.ndarray:
        if self.transcriber.pid is not None and self.times:
            self.times -= 1
            os.kill(self.transcriber.pid, self.what)
        return self.clip.audio


def test_texts_equal_the_engines_and_the_process_loads_once(
    transcriber: IsolatedTranscriber, clips: list[Utterance], expected: list[str]
) -> None:
    assert transcriber.pid is None
    found = transcriber.transcribe(clips)
    pid = transcriber.pid
    assert [each.text for each in found] == expected
    assert [each.audio_sha256 for each in found] == [each.audio_sha256 for each in clips]
    assert all(each.failure is None and each.decode_s > 0 for each in found)
    assert [each.text for each in transcriber.transcribe(clips[:3])] == expected[:3]
    assert transcriber.pid == pid
    transcriber.close()
    assert transcriber.pid is None


@pytest.mark.parametrize("engine", ["faster-whisper", "faster-whisper-batched"])
def test_batches_and_words_are_returned_complete(
    open_isolated: Open, base_artefact: Path, sentences: list[Utterance], engine: str
) -> None:
    silence = {"max_new_tokens": None, "no_speech_threshold": DecodingOptions().no_speech_threshold}
    transcriber = open_isolated(base_artefact, engine=engine, batch_size=4, word_times=True, **silence)
    found = transcriber.transcribe(sentences[:6])
    assert [each.audio_sha256 for each in found] == [each.audio_sha256 for each in sentences[:6]]
    assert all(" ".join(word.text for word in each.words) == each.text != "" for each in found)
    assert transcriber.transcribe([]) == []


def test_a_model_that_always_crashes_is_an_error(open_isolated: Open, clips: list[Utterance]) -> None:
    # The alignment heads of the tiny model name a layer that it does not have.
    with pytest.raises(EvaluationError, match=r"faster-whisper failed on 5 clips in a row.*(SIGSEGV|MemoryError)"):
        open_isolated(word_times=True).transcribe(clips)


def test_usage_counts_decoded_audio_decoding_time_and_peak_memory(
    transcriber: IsolatedTranscriber, clips: list[Utterance]
) -> None:
    assert transcriber.usage.peak_memory_bytes is None
    began_s = time.perf_counter()
    transcriber.transcribe(clips[:4])
    took_s = time.perf_counter() - began_s
    assert 0 < transcriber.usage.decode_s < took_s - 0.1, "loading does not count as decoding"
    transcriber.transcribe(clips[4:6])
    usage = transcriber.usage
    assert usage.audio_s == pytest.approx(sum(each.duration_s for each in clips[:6]))
    assert usage.decode_s > 0
    status = Path(f"/proc/{transcriber.pid}/status").read_text()
    now = int(status.split("VmHWM:")[1].split()[0]) * 1024
    assert usage.peak_memory_bytes == pytest.approx(now, rel=0.05)


def test_unusable_audio_is_a_failure_and_other_clips_are_decoded(
    transcriber: IsolatedTranscriber, clips: list[Utterance], expected: list[str]
) -> None:
    broken = replace(clips[1], audio=np.array([0.0, np.nan], np.float32))
    empty = replace(clips[2], audio=np.empty(0, np.float32))
    long = replace(clips[3], audio=np.zeros(480_001, np.float32))
    assert [each.failure for each in transcriber.transcribe([broken, empty])] == ["audio", "audio"]
    assert (transcriber.pid, transcriber.usage.audio_s) == (None, 0), "no process is started for unusable audio"
    found = transcriber.transcribe([clips[0], broken, empty, long, clips[4]])
    assert [each.failure for each in found] == [None, "audio", "audio", "audio", None]
    for each, reason in zip(found[1:4], ("not finite", "no sample", "30 s"), strict=True):
        assert reason in str(each.reason)
        assert each.text == ""
    assert [found[0].text, found[4].text] == [expected[0], expected[4]]


def test_a_process_killed_during_a_batch_costs_no_clip(
    transcriber: IsolatedTranscriber, clips: list[Utterance], expected: list[str]
) -> None:
    killed: list[int] = []

    def kill_when_loaded() -> None:
        while transcriber.pid is None:
            time.sleep(0.001)
        killed.append(transcriber.pid)
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill_when_loaded)
    killer.start()
    found = transcriber.transcribe(clips * 4)
    killer.join()
    assert transcriber.pid not in (None, *killed)
    assert [each.text for each in found] == expected * 4
    assert {each.failure for each in found} == {None}


@pytest.mark.parametrize("batch_size", [None, 3])
@pytest.mark.parametrize(
    ("what", "changes", "failure", "reason"),
    [
        (signal.SIGKILL, {}, "crash", "SIGKILL"),
        (signal.SIGSTOP, {"clip_timeout_s": 1.5}, "timeout", "1.5 s of clip_timeout_s"),
    ],
)
def test_the_clip_that_crashes_or_blocks_the_process_is_found_and_the_others_are_decoded(
    open_isolated: Open,
    clips: list[Utterance],
    expected: list[str],
    batch_size: int | None,
    what: signal.Signals,
    changes: dict[str, float],
    failure: str,
    reason: str,
) -> None:
    transcriber = open_isolated(batch_size=batch_size, **changes)
    found = transcriber.transcribe([*clips[:4], SignallingClip(clips[4], transcriber, what), *clips[5:]])
    assert [each.failure for each in found] == [None] * 4 + [failure] + [None] * 4
    assert reason in str(found[4].reason)
    assert found[4].decode_s >= changes.get("clip_timeout_s", 0.0)
    assert found[4].audio_sha256 == clips[4].audio_sha256
    assert [each.text for each in found] == [*expected[:4], "", *expected[5:]]


def test_a_clip_that_crashes_once_is_decoded_again(
    transcriber: IsolatedTranscriber, clips: list[Utterance], expected: list[str]
) -> None:
    once = SignallingClip(clips[1], transcriber, signal.SIGSEGV, times=1)
    found = transcriber.transcribe([clips[0], once, clips[2]])
    assert [(each.text, each.failure) for each in found] == [(text, None) for text in expected[:3]]
    assert once.times == 0


def test_a_limit_that_no_clip_can_meet_gives_timeouts_and_ends(open_isolated: Open, clips: list[Utterance]) -> None:
    found = open_isolated(clip_timeout_s=0.001).transcribe(clips[:4])
    assert [each.failure for each in found] == ["timeout"] * 4


def test_a_process_that_ended_between_two_calls_is_replaced(
    transcriber: IsolatedTranscriber, clips: list[Utterance], expected: list[str]
) -> None:
    transcriber.transcribe(clips[:1])
    assert transcriber.pid is not None
    os.kill(transcriber.pid, signal.SIGKILL)
    found = transcriber.transcribe(clips[:2])
    assert [(each.text, each.failure) for each in found] == [(text, None) for text in expected[:2]]


def test_an_engine_that_crashes_on_every_clip_is_an_error(
    transcriber: IsolatedTranscriber, clips: list[Utterance], expected: list[str]
) -> None:
    crashing = [SignallingClip(clip, transcriber, signal.SIGKILL) for clip in clips]
    with pytest.raises(EvaluationError, match=r"failed on 5 clips in a row.*SIGKILL"):
        transcriber.transcribe(crashing)
    assert transcriber.pid is None
    assert [each.text for each in transcriber.transcribe(clips[:2])] == expected[:2]


def test_a_model_that_cannot_be_loaded_is_an_error(
    open_isolated: Open, damaged_artefact: Path, clips: list[Utterance]
) -> None:
    with pytest.raises(EvaluationError, match="cannot load"):
        open_isolated(damaged_artefact).transcribe(clips[:1])


def test_the_process_ends_with_its_parent(artefact: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path\n"
        "from habla_ml.transcription.engine_process import EngineProcess\n"
        "from habla_ml.transcription.messages import StartRequest\n"
        "start = StartRequest(model_folder=Path(sys.argv[1]), options={}, device='cpu', cpu_threads=1)\n"
        "process = EngineProcess(start)\n"
        "print(process.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(artefact)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert Path(f"/proc/{child}").exists()
        parent.kill()
        parent.wait()
        deadline_s = time.monotonic() + 10
        while _is_running(child) and time.monotonic() < deadline_s:
            time.sleep(0.02)
        assert not _is_running(child)


def _is_running(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
