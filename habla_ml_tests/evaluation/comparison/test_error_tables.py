from collections import Counter
from pathlib import Path

import pytest

from habla_ml.errors import EvaluationError
from habla_ml.evaluation.comparison.compare import compare_with_error_tables
from habla_ml.evaluation.comparison.error_tables import (
    WordError,
    list_word_errors,
    make_utterance_table,
    make_word_error_table,
)
from habla_ml.evaluation.metrics.inputs import DecodedModel, Reference, ScoredModel
from habla_ml.evaluation.report import ReportContent, write_report
from habla_ml.evaluation.scoring.alignment import ErrorCounts, align_words, score_utterances
from habla_ml.evaluation.scoring.normalisation import normalise_spanish
from habla_ml.lake.table import read_parquet
from habla_ml.transcription.options import DecodingOptions
from habla_ml_tests.testing.simulated_hypotheses import (
    TEST_PROVENANCE,
    TEST_SETTINGS,
    make_utterances,
    simulate_hypotheses,
)


def list_errors(reference: str, hypothesis: str) -> list[WordError]:
    return list_word_errors("seg", align_words(reference, hypothesis))


def test_each_error_has_its_words_its_place_and_two_words_on_either_side() -> None:
    assert list_errors("los niños de aquí cerca", "loh niños aquí cerca eh") == [
        WordError("seg", "substitute", "los", "loh", (), ("niños", "de"), 0),
        WordError("seg", "delete", "de", None, ("los", "niños"), ("aquí", "cerca"), 2),
        WordError("seg", "insert", None, "eh", ("aquí", "cerca"), (), 5),
    ]


def test_an_insertion_is_before_the_word_of_its_index() -> None:
    assert list_errors("la mar azul", "la eh mar azul") == [
        WordError("seg", "insert", None, "eh", ("la",), ("mar", "azul"), 1)
    ]


def test_empty_texts_have_only_insertions_or_only_deletions() -> None:
    assert list_errors("", "") == []
    assert list_errors("igual", "igual") == []
    assert [(each.operation, each.hypothesis, each.index) for each in list_errors("", "a b")] == [
        ("insert", "a", 0),
        ("insert", "b", 0),
    ]
    assert [(each.operation, each.reference, each.left, each.right) for each in list_errors("a b c", "")] == [
        ("delete", "a", (), ("b", "c")),
        ("delete", "b", ("a",), ("c",)),
        ("delete", "c", ("a", "b"), ()),
    ]


def test_each_error_has_a_row_with_the_index_of_its_word() -> None:
    utterances = make_utterances(4, 10)
    for utterance, hypothesis in zip(utterances, simulate_hypotheses(utterances, 0.4, 1), strict=True):
        reference, text = normalise_spanish(utterance.sentence), normalise_spanish(hypothesis.text)
        found = list_errors(reference, text)
        assert len(found) == score_utterances([reference], [text], normalise_spanish)[0].words.errors
        assert all(reference.split()[each.index] == each.reference for each in found if each.reference)


def test_the_tables_keep_counts_and_texts_in_parquet(tmp_path: Path) -> None:
    comparison, records = compare_with_error_tables(
        (utterances := make_utterances(3, 5)),
        [
            DecodedModel("base", "base", "a" * 64, DecodingOptions(), simulate_hypotheses(utterances, 0.4, 1)),
            DecodedModel("v1", "candidate", "b" * 64, DecodingOptions(), simulate_hypotheses(utterances, 0.2, 2)),
        ],
        TEST_SETTINGS,
        TEST_PROVENANCE,
    )
    files = write_report(ReportContent(comparison), utterances, tmp_path, records)
    rows = read_parquet(files.utterances).to_pylist()
    assert [row["model"] for row in rows] == ["base"] * 15 + ["v1"] * 15
    wrong = Counter(row["model"] for row in read_parquet(files.word_errors).to_pylist())
    for model in comparison.models:
        own = [row for row in rows if row["model"] == model.name]
        assert [row["reference"] for row in own] == [each.sentence for each in utterances]
        for kind in ("substitutions", "deletions", "insertions", "hits"):
            assert sum(row[f"words_{kind}"] for row in own) == getattr(model.wer.counts, kind)
        for kind, metric in (("characters", "cer"), ("orthographic_words", "orthographic_wer")):
            counts = {
                part: sum(row[f"{kind}_{part}"] for row in own)
                for part in ("substitutions", "deletions", "insertions", "hits")
            }
            assert ErrorCounts(**counts).wer == pytest.approx(model.metrics[metric].value)
        assert wrong[model.name] == model.wer.counts.errors
    for form in (files.html, files.markdown):
        assert "utterances.parquet" in form.read_text("utf-8")


def test_a_wrong_word_has_its_neighbours_and_a_missing_text_is_refused() -> None:
    references = [Reference.of(make_utterances(1, 1)[0])]
    table = make_word_error_table(references, "v1", [align_words("los niños de aquí cerca", "loh niños aquí cerca")])
    assert [(row["said"], row["heard"], row["before"], row["after"], row["place"]) for row in table.to_pylist()] == [
        ("los", "loh", "", "niños de", 0),
        ("de", None, "los niños", "aquí cerca", 2),
    ]
    empty = ScoredModel("v1", "candidate", (), (), (), ())
    with pytest.raises(EvaluationError, match="1 references and 0 texts of v1"):
        make_utterance_table(references, empty)
