"""The messages of a training process, read from its file one whole line at a time.

Dagster's reader takes what is there of a line that is being written, fails on it, and loses the result of a training
that went well.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any, Final

import dagster as dg

_PAUSE_S: Final = 0.2


class MessageHandover:
    """Hands the messages of a training to Dagster. Its process may be started again, so only the last end counts.

    Args:
        handler: Dagster's handler, which warns about each message after an end.
        observe: Gets the payload of each custom message when it arrives; Dagster only keeps them until the process ends.
    """

    def __init__(self, handler: Any, observe: Callable[[Any], None]) -> None:
        self._handler, self._observe = handler, observe
        self._end: dict[str, Any] | None = None

    def take(self, message: dict[str, Any]) -> None:
        """Hand over one message, but an end only if none follows."""
        self._end = message if message["method"] == "closed" else None
        if self._end is not None:
            return
        self._handler.handle_message(message)
        if message["method"] == "report_custom_message":
            self._observe(message["params"]["payload"])

    def finish(self) -> None:
        """Hand over the end after the last message."""
        if self._end is not None:
            self._handler.handle_message(self._end)


class WholeLineMessageReader(dg.PipesTempFileMessageReader):
    """Reads messages from a temporary file; a line counts once it has its end.

    `observe` is that of a `MessageHandover`.
    """

    def __init__(self, observe: Callable[[Any], None] = lambda _: None) -> None:
        super().__init__()
        self._observe = observe

    @contextmanager
    def read_messages(self, handler: Any) -> Iterator[Any]:
        """Yield where the process writes its messages, and hand each of them to `handler`."""
        with tempfile.TemporaryDirectory() as folder:
            reader = _WholeLineFileReader(str(Path(folder) / "messages"), self._observe)
            with reader.read_messages(handler) as params:
                yield params


class _WholeLineFileReader(dg.PipesFileMessageReader):
    def __init__(self, path: str, observe: Callable[[Any], None]) -> None:
        super().__init__(path)
        self._observe = observe

    def _reader_thread(self, handler: Any, is_resource_complete: Event) -> None:
        try:
            handover = MessageHandover(handler, self._observe)
            for line in read_whole_lines(Path(self._path), is_resource_complete.is_set):
                handover.take(json.loads(line))
            handover.finish()
        except Exception:
            handler.report_pipes_framework_exception(f"{type(self).__name__} reader thread", sys.exc_info())
            raise


def read_whole_lines(path: Path, is_over: Callable[[], bool], pause_s: float = _PAUSE_S) -> Iterator[str]:
    """Yield the lines of a file that grows, each with its end, until `is_over` returns True and all is read."""
    line = ""
    with path.open(encoding="utf-8") as file:
        while True:
            is_last = is_over()  # asked first: what was written before is still read
            if part := file.readline():
                line += part
                if line.endswith("\n"):
                    yield line
                    line = ""
            elif is_last:
                return
            else:
                time.sleep(pause_s)
