from pathlib import Path

import pytest

from habla_ml.corpus.snapshot import Utterance
from habla_ml.evaluation.comparison.decoding import EvaluatedModel
from habla_ml.evaluation.comparison.speed_measurement import describe_machine, measure_speed
from habla_ml.evaluation.metrics.speed import LogFigure
from habla_ml.evaluation.metrics.speed_run import SpeedRun
from habla_ml.lake import Lake, catalogue
from habla_ml.settings import EvaluationSettings
from habla_ml.transcription.options import DecodingOptions
from habla_ml_tests.evaluation.conftest import artefact, clips, lake

__all__ = ["artefact", "clips", "lake"]

SETTINGS = EvaluationSettings(speed_clips=6, speed_rounds=3)
OPTIONS = DecodingOptions(max_new_tokens=8, no_speech_threshold=None)


def measure(lake: Lake, folder: Path, clips: list[Utterance], *, is_new: bool = False) -> SpeedRun:
    models = [
        EvaluatedModel("v1", "base", "1" * 64, folder, decoding=OPTIONS),
        EvaluatedModel("again", "compared", "1" * 64, folder, decoding=OPTIONS),
    ]
    found = measure_speed(lake, models, lambda: clips, SETTINGS, lambda _: None, is_new=is_new)
    assert found is not None
    return found


@pytest.mark.long
def test_one_artefact_that_is_entered_twice_does_not_differ_from_itself(
    lake: Lake, artefact: Path, clips: list[Utterance]
) -> None:
    differing = [True, True]
    for at in range(2):
        run = measure(lake, artefact, clips, is_new=True)
        first, second = (LogFigure.of_quantile(0.5, each) for each in run.models)
        found = second.minus(first).interval()
        differing[at] = found.low > 0 or found.high < 0
        if not differing[at]:
            break
    assert not all(differing), "a 95 % interval excludes 0 twice once in 400 times"


@pytest.mark.long
def test_a_run_times_every_model_in_every_round_names_the_machine_and_is_kept(
    lake: Lake, artefact: Path, clips: list[Utterance]
) -> None:
    run = measure(lake, artefact, clips)
    assert [(each.model, len(each.factors), len(each.throughput)) for each in run.models] == [
        ("v1", 3, 3),
        ("again", 3, 3),
    ]
    assert all(len(row) == 6 and min(row) > 0 for each in run.models for row in each.factors)
    assert all(each.peak_memory_bytes is not None and each.peak_memory_bytes > 2**20 for each in run.models)
    assert run.machine == describe_machine()
    assert run.machine.libraries["ctranslate2"].count(".") == 2
    assert run.machine.cores > 0
    assert run.machine.cpu
    assert measure(lake, artefact, clips[::-1]) == run, "the same evidence again"
    assert len(list(lake.list_pointers(catalogue.get_area(catalogue.SPEED.name("x"))))) == 1


@pytest.mark.slow
def test_a_model_that_fails_on_a_clip_is_not_timed(lake: Lake, artefact: Path, clips: list[Utterance]) -> None:
    models = [
        EvaluatedModel("v1", "base", "1" * 64, artefact, decoding=OPTIONS),
        EvaluatedModel(
            "late", "compared", "1" * 64, artefact, decoding=OPTIONS.model_copy(update={"clip_timeout_s": 1e-4})
        ),
    ]
    run = measure_speed(lake, models, lambda: clips[:1], SETTINGS, lambda _: None)
    assert run is not None
    assert [each.model for each in run.models] == ["v1"]


def test_without_clips_nothing_is_timed(lake: Lake, artefact: Path, clips: list[Utterance]) -> None:
    none = SETTINGS.model_copy(update={"speed_clips": 0})
    model = EvaluatedModel("v1", "base", "1" * 64, artefact)
    assert measure_speed(lake, [model], lambda: clips, none, lambda _: None) is None
    assert measure_speed(lake, [model], lambda: [], SETTINGS, lambda _: None) is None
    with pytest.raises(ValueError, match="greater than or equal to 2"):
        EvaluationSettings(speed_rounds=1)
