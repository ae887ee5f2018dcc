"""The form of the code and the documentation: sizes, unique names, plain words, short sentences."""

from __future__ import annotations

import ast
import re
import subprocess
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_SENTENCE_WORDS = 30
MAX_MEAN_SENTENCE_WORDS = 18
MAX_WORN_WORDS_PER_1000_LINES = 2.0
WORN_WORDS = re.compile(
    rf"\b({'|'.join((Path(__file__).parent / 'worn_words.txt').read_text().split())})\b", re.IGNORECASE
)


def list_files(*patterns: str) -> list[Path]:
    """Return the files of the project that git knows or would add."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [ROOT / name for name in names if (ROOT / name).is_file()]


SOURCES = list_files("*.py")
PAGES = list_files("*.md")


@cache
def parse_sources() -> dict[str, ast.Module]:
    """Return the syntax tree of each source by name."""
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text("utf-8")) for path in SOURCES}


def test_no_scanner_of_arrow_reads_a_table() -> None:
    """Its threads can abort a process that is about to end: 15 of 600 did. `ParquetFile` has none of them: 0 of 900."""
    scanner = re.compile(r"pq\.read_table\(|parquet import read_table|pyarrow\.dataset|read_parquet\(.*filters=")
    assert [path.name for path in SOURCES if path != Path(__file__) and scanner.search(path.read_text("utf-8"))] == []


def test_a_benchmark_that_uses_tests_or_tools_finds_them() -> None:
    """`python benchmarks/….py` has only its own folder on the path."""
    scripts = [path.read_text("utf-8") for path in SOURCES if path.parent.name == "benchmarks"]
    using = [each for each in scripts if re.search(r"^(from|import) (habla_ml_tests|tools)", each, re.MULTILINE)]
    assert using
    assert all("sys.path.insert(0, str(Path(__file__).resolve().parent.parent))" in each for each in using)


def test_files_have_at_most_400_lines() -> None:
    lengths = {path.relative_to(ROOT).as_posix(): len(path.read_text("utf-8").splitlines()) for path in SOURCES}
    assert {name: lines for name, lines in lengths.items() if lines > MAX_FILE_LINES} == {}


def test_functions_have_at_most_60_lines() -> None:
    functions = [
        (f"{name}:{each.name}", (each.end_lineno or 0) - each.lineno + 1)
        for name, tree in parse_sources().items()
        for each in ast.walk(tree)
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert [each for each in functions if each[1] > MAX_FUNCTION_LINES] == []


def test_a_class_name_exists_once() -> None:
    places = defaultdict(list)
    for name, tree in parse_sources().items():
        for each in ast.walk(tree):
            if isinstance(each, ast.ClassDef):
                places[each.name].append(name)
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


def test_words_are_plain() -> None:
    texts = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in list_files("*.py", "*.md", "*.j2")}
    counts = Counter({name: len(WORN_WORDS.findall(text)) for name, text in texts.items()})
    lines = sum(len(text.splitlines()) for text in texts.values())
    assert 1000 * counts.total() / lines < MAX_WORN_WORDS_PER_1000_LINES, counts.most_common(10)


def list_sentences(page: Path) -> list[str]:
    """Return the sentences of a page's running text: no code blocks, tables, headings or pictures."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S)
    kept = [line for line in text.splitlines() if not re.match(r"\s*(\||#|!\[|---)", line)]
    blocks = re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )", "\n".join(kept))
    plain = (
        re.sub(r"\]\([^)]*\)|`[^`]*`", lambda found: "]" if found[0][0] == "]" else "code", each) for each in blocks
    )
    return [
        sentence
        for block in plain
        for sentence in re.split(r"(?<=[.!?:;])[*_)\]\"”]*\s+", block)
        if re.search(r"[a-zA-Z]", sentence)
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_sentences_of_the_documentation_are_short(page: Path) -> None:
    lengths = [(len(sentence.split()), sentence) for sentence in list_sentences(page)]
    assert [sentence for words, sentence in lengths if words > MAX_SENTENCE_WORDS] == []
    assert not lengths or sum(words for words, _ in lengths) / len(lengths) <= MAX_MEAN_SENTENCE_WORDS
