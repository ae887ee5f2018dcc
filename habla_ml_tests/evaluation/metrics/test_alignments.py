import builtins
from pathlib import Path

import pytest

from habla_ml.errors import EvaluationError, InputError
from habla_ml.evaluation.metrics.alignments import read_alignments, write_alignments
from habla_ml.transcription.engine import RecognisedWord

TWO = {
    "clip-a": (RecognisedWord("Hola,", 0.1, 0.4), RecognisedWord("niños", 0.5, 0.9)),
    "clip-b": (RecognisedWord("sí", 0.0, 0.25),),
}


def test_a_written_csv_is_read_back(tmp_path: Path):
    write_alignments(tmp_path / "a.csv", TWO)
    assert read_alignments(tmp_path / "a.csv") == TWO


def test_a_ctm_has_starts_and_durations(tmp_path: Path):
    path = tmp_path / "a.ctm"
    path.write_text(
        ";; by hand\nclip-a 1 0.10 0.30 Hola,\nclip-a 1 0.50 0.40 niños 0.99\n\nclip-b A 0 0.25 sí\n", "utf-8"
    )
    found = read_alignments(path)
    assert [each.text for each in found["clip-a"]] == ["Hola,", "niños"]
    assert found["clip-a"][1].end_s == pytest.approx(0.9)
    assert found["clip-b"] == TWO["clip-b"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_tables_of_a_spanish_spreadsheet_and_ctms_in_other_encodings_are_read(tmp_path: Path, encoding: str):
    lines = ["Segment_ID;Word;Start_s;End_s", 'clip-a;"Hola,";0,1;0,4', "clip-a;niños;0,5;0,9", "clip-b;sí;0;0,25"]
    (tmp_path / "a.csv").write_bytes("\r\n".join(lines).encode(encoding))
    assert read_alignments(tmp_path / "a.csv") == TWO
    (tmp_path / "a.ctm").write_bytes("clip-b A 0 0.25 sí\n".encode(encoding))
    assert read_alignments(tmp_path / "a.ctm") == {"clip-b": TWO["clip-b"]}


def textgrid(path: Path, tiers: dict[str, list[tuple[float, float, str]]]) -> None:
    from praatio import textgrid as praat

    grid = praat.Textgrid()
    for name, entries in tiers.items():
        grid.addTier(praat.IntervalTier(name, entries, 0, 1.0))
    grid.save(str(path), format="long_textgrid", includeBlankSpaces=True)


def test_a_folder_may_have_textgrids_and_tables(tmp_path: Path):
    textgrid(tmp_path / "clip-c.TextGrid", {"words": [(0.1, 0.4, "pan")], "phones": [(0.1, 0.2, "p")]})
    textgrid(tmp_path / "clip-d.TextGrid", {"palabras": [(0.2, 0.3, "y")]})
    write_alignments(tmp_path / "more.csv", TWO)
    (tmp_path / "notes.txt").write_text("nothing")
    found = read_alignments(tmp_path)
    assert set(found) == {"clip-a", "clip-b", "clip-c", "clip-d"}
    assert found["clip-c"] == (RecognisedWord("pan", 0.1, 0.4),)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.csv",
            "segment_id,word\nx,y\n",
            "lacks the column start_s; found segment_id, word; expected segment_id,word,start_s,end_s",
        ),
        ("a.csv", "segment_id,word,start_s,end_s\nx,y,one,2\n", "row 2 has the times 'one' and '2'"),
        ("a.csv", "segment_id,word,start_s,end_s\nx,y,2,1\n", "from 2 to 1 s ends before it starts"),
        ("a.csv", "segment_id,word,start_s,end_s\nx,y,nan,1\n", "ends before it starts"),
        ("a.csv", "segment_id,word,start_s,end_s\nx,y,0,inf\n", "ends before it starts"),
        ("a.csv", "segment_id,word,start_s,end_s\nx,y,1,2\nx,z,0,1\n", "row 3: 'z'"),
        ("a.csv", "segment_id,word,start_s,end_s\nx,,1,2\n", "has no word"),
        ("a.csv", 'segment_id,word,start_s,end_s\nx,"y,1,2\n', "row 2 is badly quoted"),
        ("a.csv", "segment_id,word,start_s,end_s\nx,y,1,2,3\n", "row 2 has more cells than the header"),
        ("a.csv", "segment_id,word,start_s,end_s\n,y,1,2\n", "has no clip"),
        ("a.ctm", "clip 1 0.5 y\n", "line 1 has 4 fields"),
        ("a.TextGrid", "no grid", "cannot be read as a TextGrid"),
        ("a.json", "{}", "expected .csv, .ctm or .TextGrid"),
    ],
)
def test_an_invalid_row_is_named_in_the_error(tmp_path: Path, name, content, message):
    (tmp_path / name).write_text(content, "utf-8")
    with pytest.raises(InputError, match=message):
        read_alignments(tmp_path / name)


def test_a_textgrid_without_a_word_tier_and_a_clip_aligned_twice_are_refused(tmp_path: Path):
    textgrid(tmp_path / "clip-a.TextGrid", {"one": [(0, 1, "x")], "two": [(0, 1, "y")]})
    with pytest.raises(InputError, match="has the tiers one, two; name the one with the words"):
        read_alignments(tmp_path)
    textgrid(tmp_path / "clip-a.TextGrid", {"words": [(0, 1, "x")]})
    write_alignments(tmp_path / "b.csv", TWO)
    with pytest.raises(InputError, match="clip-a, which another file aligns"):
        read_alignments(tmp_path)


def test_an_empty_folder_and_a_missing_file_are_refused(tmp_path: Path):
    for path in (tmp_path, tmp_path / "missing.csv"):
        with pytest.raises(InputError, match="has no manual alignments"):
            read_alignments(path)


def test_the_error_names_the_extra_if_the_textgrid_reader_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "clip.TextGrid").write_text("", "utf-8")
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("praatio"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(EvaluationError, match=r"habla-ml\[alignment\]"):
        read_alignments(tmp_path)
