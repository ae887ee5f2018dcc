"""Parity: does the converted artefact transcribe as the checkpoint that it was converted from?"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing

from habla_ml.corpus.snapshot import Utterance
from habla_ml.evaluation.comparison.decoding import (
    EvaluatedModel,
    Progress,
    make_progress_callback,
)
from habla_ml.evaluation.comparison.records import Parity
from habla_ml.evaluation.scoring.alignment import score_utterances
from habla_ml.evaluation.scoring.normalisation import normalise_spanish
from habla_ml.evaluation.scoring.rates import stack_counts
from habla_ml.evaluation.scoring.readings import is_same_text
from habla_ml.evaluation.scoring.statistics import Draws, to_interval
from habla_ml.lake import Lake, compute_digest
from habla_ml.settings import Settings
from habla_ml.transcription.hypothesis_cache import transcribe_cached
from habla_ml.transcription.open import open_bulk_transcriber
from habla_ml.transcription.options import DecodingOptions


def measure_parity(
    lake: Lake,
    model: EvaluatedModel,
    test: Iterable[Utterance],
    settings: Settings,
    progress: Progress,
) -> Parity | None:
    """Decode a sample of the test set with the artefact and with its checkpoint, both greedily.

    Beam search would hide or add differences that the conversion did not make. Return None where there is no
    checkpoint, no clip, or `parity_clips` is 0.
    """
    if model.checkpoint is None or model.checkpoint_folder is None:
        return None
    evaluation = settings.evaluation
    sample = _select_sample(test, evaluation.parity_clips)
    if not sample:
        return None
    greedy = DecodingOptions(beam_size=1, language=evaluation.language, clip_timeout_s=evaluation.clip_timeout_s)
    texts = []
    for artefact, folder, options in (
        (model.checkpoint, model.checkpoint_folder, greedy.model_copy(update={"engine": "transformers"})),
        (model.artefact, model.folder, greedy),
    ):
        with closing(open_bulk_transcriber(options, folder, settings)) as transcriber:
            log = make_progress_callback(f"parity of {model.name}, {options.engine}", progress)
            texts.append([each.text for each in transcribe_cached(lake, artefact, transcriber, sample, log)])
    sentences = [each.sentence for each in sample]
    scores = [score_utterances(sentences, each, normalise_spanish) for each in texts]
    draws = Draws.of([each.session_id for each in sample], evaluation.bootstrap_draws, evaluation.seed)
    (resample,) = draws.resample([stack_counts([[each.words for each in row] for row in scores])])
    same = sum(is_same_text(*map(normalise_spanish, pair)) for pair in zip(*texts, strict=True))
    return Parity(
        artefact=model.artefact,
        checkpoint=model.checkpoint,
        clips=len(sample),
        same_text_share=same / len(sample),
        points=to_interval(resample.point_change(0, 1)),
    )


def _select_sample(utterances: Iterable[Utterance], clips: int) -> list[Utterance]:
    """Return the same clips of a set whatever their order; memory holds about twice as many."""
    chosen: list[tuple[str, Utterance]] = []
    for each in utterances:
        chosen.append((compute_digest(each.segment_id), each))
        if len(chosen) > 2 * clips + 1:
            chosen = sorted(chosen, key=lambda pair: pair[0])[:clips]
    return [each for _, each in sorted(chosen, key=lambda pair: pair[0])[:clips]]
