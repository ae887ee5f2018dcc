from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from habla_ml.errors import EvaluationError
from habla_ml.evaluation.error_records import WordError, utterance_table, word_errors
from habla_ml.evaluation.normalise import orthographic, spanish
from habla_ml.evaluation.scoring import align_words, score_utterances
from habla_ml.evaluation.slices import Reference
from habla_ml_tests.evaluation.classroom import heard, lesson


def errors(said: str, understood: str) -> list[WordError]:
    return word_errors("seg", align_words(said, understood))


def test_each_error_has_its_words_its_place_and_two_words_on_either_side() -> None:
    assert errors("los niños de aquí cerca", "loh niños aquí cerca eh") == [
        WordError("seg", "substitute", "los", "loh", (), ("niños", "de"), 0),
        WordError("seg", "delete", "de", None, ("los", "niños"), ("aquí", "cerca"), 2),
        WordError("seg", "insert", None, "eh", ("aquí", "cerca"), (), 5),
    ]


def test_an_insertion_stands_before_the_word_of_its_index() -> None:
    assert errors("la mar azul", "la eh mar azul") == [
        WordError("seg", "insert", None, "eh", ("la",), ("mar", "azul"), 1)
    ]


def test_empty_texts_have_only_insertions_or_only_deletions() -> None:
    assert errors("", "") == []
    assert errors("igual", "igual") == []
    assert [(each.operation, each.hypothesis, each.index) for each in errors("", "a b")] == [
        ("insert", "a", 0),
        ("insert", "b", 0),
    ]
    assert [(each.operation, each.reference, each.left, each.right) for each in errors("a b c", "")] == [
        ("delete", "a", (), ("b", "c")),
        ("delete", "b", ("a",), ("c",)),
        ("delete", "c", ("a", "b"), ()),
    ]


def test_there_are_as_many_records_as_errors_and_each_word_is_where_it_says() -> None:
    utterances = lesson(4, 10)
    for utterance, hypothesis in zip(utterances, heard(utterances, 0.4, 1), strict=True):
        said, understood = spanish(utterance.sentence), spanish(hypothesis.text)
        found = errors(said, understood)
        assert len(found) == score_utterances([said], [understood], spanish)[0].words.errors
        assert all(said.split()[each.index] == each.reference for each in found if each.reference)


def test_the_table_of_utterances_reads_back_from_parquet_with_the_counts(tmp_path: Path) -> None:
    utterances = lesson(3, 5)
    references = [Reference.of(each) for each in utterances]
    said, understood = [each.sentence for each in utterances], [each.text for each in heard(utterances, 0.4, 1)]
    normalised, written = (score_utterances(said, understood, form) for form in (spanish, orthographic))
    table = utterance_table("v1", references, normalised, written)
    pq.write_table(
        pa.concat_tables([table, utterance_table("v2", references, normalised, written)]), tmp_path / "u"
    )
    rows = pq.read_table(tmp_path / "u").to_pylist()
    assert [row["model"] for row in rows] == ["v1"] * 15 + ["v2"] * 15
    for row, reference, folded, plain in zip(rows, references, normalised, written, strict=False):
        assert (row["segment_id"], row["session_id"]) == (reference.segment_id, reference.session_id)
        assert row["words_substitutions"] == folded.words.substitutions
        assert row["characters_hits"] == folded.characters.hits
        assert row["orthographic_words_deletions"] == plain.words.deletions
        assert row["orthographic_characters_insertions"] == plain.characters.insertions
    with pytest.raises(EvaluationError, match="15 references, 14 normalised and 15 orthographic"):
        utterance_table("v1", references, normalised[1:], written)
