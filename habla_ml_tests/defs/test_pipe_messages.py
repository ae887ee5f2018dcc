"""Messages of a training process arrive whole, however they are written."""

import threading
import time
from pathlib import Path

from habla_ml.defs.pipe_messages import read_whole_lines


def test_a_line_counts_once_it_has_its_end(tmp_path: Path) -> None:
    path, over = tmp_path / "messages", threading.Event()
    path.write_text("")

    def write() -> None:
        with path.open("a", encoding="utf-8") as file:
            for part in ('{"method": "rep', 'ort"}\n{"method"', ': "closed"}\n'):
                file.write(part)
                file.flush()
                time.sleep(0.1)
        over.set()

    writer = threading.Thread(target=write)
    writer.start()
    lines = list(read_whole_lines(path, over.is_set, pause_s=0.01))
    writer.join()
    assert lines == ['{"method": "report"}\n', '{"method": "closed"}\n']


def test_what_was_written_before_the_end_is_read(tmp_path: Path) -> None:
    path = tmp_path / "messages"
    path.write_text("one\ntwo\nhalf")
    assert list(read_whole_lines(path, lambda: True)) == ["one\n", "two\n"]
