"""Compare our scorer with jiwer, and score twenty versions again after a change of conventions.

First, 10,000 utterances: `jiwer.wer` and `jiwer.process_words` on normalised texts, against our counts of words and
characters on the same texts. Our scorer must be at least as fast.

Then the change of conventions: 20 versions with hypotheses in a lake and 10,000 references under other conventions.
Each version is read, normalised, scored in both forms and written as a table. Twenty comparisons of three models
follow, with every slice and 10,000 draws. Nothing is decoded; the bound is 30 s. Audio is not needed and not read.
"""

from __future__ import annotations

import io
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import jiwer
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from habla_ml.corpus.conventions import load_conventions
from habla_ml.evaluation.comparison.error_tables import make_utterance_table
from habla_ml.evaluation.comparison.slices import compute_slices
from habla_ml.evaluation.metrics.inputs import Reference, ScoredModel, ScoredSpeech
from habla_ml.evaluation.scoring.alignment import score_utterances, sum_counts
from habla_ml.evaluation.scoring.normalisation import Normaliser, normalise_orthographic, normalise_spanish
from habla_ml.evaluation.scoring.rates import stack_counts
from habla_ml.evaluation.scoring.statistics import Draws
from habla_ml.lake import DirectoryStore, Lake
from habla_ml.settings import EvaluationSettings
from habla_ml.transcription.engine import Hypothesis
from habla_ml.transcription.hypothesis_cache import read_hypotheses, save_hypotheses
from habla_ml.transcription.options import DecodingOptions

CONVENTIONS = Path(__file__).resolve().parent.parent / "configs" / "conventions"
VERSIONS, SEGMENTS, BOUND_S = 20, 10_000, 30.0
SENTENCE = (
    "los niños de la clase traen una libreta azul y escriben despacio frases sobre el mar que vieron ayer con "
    "papá cuando hacía 3 grados pues mira aquí hay 25 páginas y luego eh nos vamos al recreo a las 11"
)


def main(segments: int = SEGMENTS, versions: int = VERSIONS) -> int:
    """Print times and ratios; return non-zero where a bound is not met."""
    rng = random.Random(1)  # noqa: S311 - texts, not secrets
    typed = [_draw_sentence(rng) for _ in range(segments)]
    return int(_compare_with_jiwer(typed, rng) < 1) | int(_rescore_versions(typed, versions, rng) > BOUND_S)


def _compare_with_jiwer(typed: Sequence[str], rng: random.Random) -> float:
    references, hypotheses = (
        [normalise_spanish(text) for text in typed],
        [normalise_spanish(_corrupt_text(text, 0.25, rng)) for text in typed],
    )
    words = _time_fastest(lambda: (jiwer.wer(references, hypotheses), jiwer.process_words(references, hypotheses)))
    both = _time_fastest(
        lambda: (jiwer.process_words(references, hypotheses), jiwer.process_characters(references, hypotheses))
    )
    ours = _time_fastest(lambda: score_utterances(references, hypotheses, _keep_text))
    if (
        abs(
            sum_counts([each.words for each in score_utterances(references, hypotheses, _keep_text)]).wer
            - jiwer.wer(references, hypotheses)
        )
        > 0
    ):
        raise SystemExit("jiwer and our scorer disagree")
    print(f"{len(references)} normalised utterances")
    print(f"ours, counts of words and characters   {ours:.3f} s")
    print(f"jiwer.wer and process_words            {words:.3f} s   ratio {words / ours:.1f}")
    print(f"process_words and process_characters   {both:.3f} s   ratio {both / ours:.1f}")
    return words / ours


def _rescore_versions(typed: Sequence[str], versions: int, rng: random.Random) -> float:
    settings, options = EvaluationSettings(), DecodingOptions()
    audio = [f"{at:064x}" for at in range(len(typed))]
    with tempfile.TemporaryDirectory() as scratch:
        lake = Lake(DirectoryStore(Path(scratch) / "lake"), Path(scratch) / "cache")
        for version in range(versions):
            hypotheses = {
                key: Hypothesis(key, _corrupt_text(text, 0.3 - 0.01 * version, rng), 0.1, 3.0)
                for key, text in zip(audio, typed, strict=True)
            }
            save_hypotheses(lake, _artefact_digest(version), options, hypotheses)
        for name in ("orthographic-v1", "verbatim-v1"):
            conventions = load_conventions(CONVENTIONS / f"{name}.yaml")
            started, cpu = time.perf_counter(), time.process_time()
            references = _make_references([conventions.read(text).sentence for text in typed], audio)
            folded, written = cache(normalise_spanish), cache(normalise_orthographic)
            models, stored = [], 0
            for version in range(versions):
                known = read_hypotheses(lake, _artefact_digest(version), options)
                model, table = _score_model(
                    f"v{version}", references, [known[key].text for key in audio], folded, written
                )
                models.append(model)
                stored += table
            scored = time.perf_counter() - started
            draws = Draws.of([each.session_id for each in references], settings.bootstrap_draws, settings.seed)
            for at in range(versions):
                three = [models[0], models[max(0, at - 1)], models[at]]
                draws.resample(
                    [stack_counts([getattr(each, of) for each in three]) for of in ("characters", "orthographic")]
                )
                found = compute_slices(ScoredSpeech(tuple(references), tuple(three), draws), settings)
            spent = time.perf_counter() - started
            print(
                f"{name}: {versions} versions x {len(typed)} segments scored in {scored:.1f} s, with {versions} "
                f"comparisons of 3 models on {len(found)} slices {spent:.1f} s (bound {BOUND_S:g} s; "
                f"{time.process_time() - cpu:.1f} s of CPU time); "
                f"tables {stored / 1e6:.1f} MB"
            )
    return spent


def _score_model(
    name: str, references: Sequence[Reference], texts: Sequence[str], folded: Normaliser, written: Normaliser
) -> tuple[ScoredModel, int]:
    """Return the counts of a model and the size of its utterance table in bytes."""
    sentences = [each.sentence for each in references]
    normalised, as_written = (score_utterances(sentences, texts, each) for each in (folded, written))
    model = ScoredModel(
        name=name,
        role="candidate",
        texts=tuple(texts),
        words=tuple(each.words for each in normalised),
        characters=tuple(each.characters for each in normalised),
        orthographic=tuple(each.words for each in as_written),
    )
    out = io.BytesIO()
    pq.write_table(make_utterance_table(references, model), out, compression="zstd")
    return model, out.tell()


def _make_references(sentences: Sequence[str], audio: Sequence[str]) -> list[Reference]:
    return [
        Reference(
            segment_id=f"segment-{at}",
            session_id=f"session-{at // 150:03d}",
            speaker=f"SPEAKER_{at % 4:02d}",
            sentence=sentence,
            duration_s=1.0 + at % 9,
            loudness_dbfs=-20.0 - at % 30,
            audio_sha256=key,
        )
        for at, (sentence, key) in enumerate(zip(sentences, audio, strict=True))
    ]


def _artefact_digest(version: int) -> str:
    return f"{version:02x}" * 32


def _draw_sentence(rng: random.Random) -> str:
    return " ".join(rng.choices(SENTENCE.split(), k=rng.randint(3, 13))).capitalize() + rng.choice(
        [".", "...", "?", " [noise]"]
    )


def _corrupt_text(text: str, share: float, rng: random.Random) -> str:
    """Replace, drop or double a share of the words."""
    corrupted = []
    for word in text.split():
        draw = rng.random()
        if draw >= share:
            corrupted.append(word)
        elif draw < 0.6 * share:
            corrupted.append(word.replace("s", "h") + "x")
        elif draw < 0.8 * share:
            corrupted += [word, "eh"]
    return " ".join(corrupted)


def _keep_text(text: str) -> str:
    return text


def _time_fastest(work: Callable[[], object]) -> float:
    times = []
    for _ in range(5):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


if __name__ == "__main__":
    sys.exit(main(*(int(each) for each in sys.argv[1:])))
