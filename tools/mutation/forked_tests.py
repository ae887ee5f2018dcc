"""Run the tests that reach a mutant in a forked process: nothing is imported or collected again."""

from __future__ import annotations

import functools
import gc
import os
import resource
import signal
import sys
import time
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, NoReturn

import coverage
import pytest
from _pytest.runner import runtestprotocol

from tools.mutation.mutants import Mutant, find_code

Outcome = Literal["killed", "survived", "timeout", "no test"]

_CPU_LIMIT_S: Final = 30
_WALL_LIMIT_S: Final = 900.0
_TEST_BUDGET_S: Final = 8.0
"""CPU time of the tests of one mutant, the quickest first; every mutant gets at least five tests."""
_FEWEST_TESTS: Final = 5


@dataclass
class MutationRun:
    """A pytest plugin: runs the collected tests once under coverage, then the tests of each mutant in its own process."""

    root: Path
    mutants: Sequence[Mutant]
    report: Callable[[Mutant, Outcome], None]
    _seconds: dict[str, float] = field(default_factory=dict)
    _tests_by_line: dict[str, dict[int, list[str]]] = field(default_factory=dict)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Replace pytest's own loop."""
        self._measure(session)
        functions = _index_functions()
        selected = [self._select(session, each) for each in self.mutants]
        names = {each.nodeid for tests in selected for each in tests}
        if _run_forked(session, [each for each in session.items if each.nodeid in names]) != "survived":
            raise pytest.UsageError("a test fails in a forked process without a mutant, so its failures show nothing")
        for mutant, tests in zip(self.mutants, selected, strict=True):
            self.report(mutant, _run_forked(session, tests, self._prepare(mutant, functions)) if tests else "no test")
        return True

    def _measure(self, session: pytest.Session) -> None:
        """Run each test once; note its CPU time and the lines it runs."""
        paths = sorted({str(self.root / each.path) for each in self.mutants})
        measured = coverage.Coverage(data_file=None, include=paths)
        measured.start()
        followers: list[Any] = [*session.items[1:], session]
        for item, follower in zip(session.items, followers, strict=True):
            measured.switch_context(item.nodeid)
            started = time.process_time()
            if any(each.failed for each in runtestprotocol(item, log=False, nextitem=follower)):
                raise pytest.UsageError(f"{item.nodeid} fails without a mutant; fix it first")
            self._seconds[item.nodeid] = time.process_time() - started
        measured.stop()
        for path in paths:
            self._tests_by_line[path] = measured.get_data().contexts_by_lineno(path)

    def _select(self, session: pytest.Session, mutant: Mutant) -> list[pytest.Item]:
        """Return the tests of a mutant, the quickest first: those that run its lines, or lines that name its constant.

        A constant also has the tests of the file that has its module's name.
        """
        lines = {str(self.root / mutant.path): list(mutant.lines)}
        if mutant.constant:
            sources = {path: Path(path).read_text("utf-8").splitlines() for path in self._tests_by_line}
            lines = {
                path: [at for at, line in enumerate(found, 1) if mutant.constant in line]
                for path, found in sources.items()
            }
        names = {
            name for path, found in lines.items() for at in found for name in self._tests_by_line[path].get(at, ())
        }
        own = f"test_{Path(mutant.path).stem}" if mutant.constant else ""
        reaching = [each for each in session.items if each.nodeid in names or each.path.stem == own]
        reaching.sort(key=lambda each: self._seconds[each.nodeid])
        chosen: list[pytest.Item] = []
        total = 0.0
        for item in reaching:
            total += self._seconds[item.nodeid]
            if len(chosen) >= _FEWEST_TESTS and total > _TEST_BUDGET_S:
                break
            chosen.append(item)
        return chosen

    def _prepare(
        self, mutant: Mutant, functions: Mapping[tuple[str, str], list[types.FunctionType]]
    ) -> Callable[[], None]:
        """Return what puts the mutant's code into the loaded module."""
        path = str(self.root / mutant.path)
        if not mutant.function:
            return functools.partial(_replace_constant, mutant, path)
        if (code := find_code(mutant.make_source(), path, mutant.function)) is None:
            raise pytest.UsageError(f"{mutant.path}:{mutant.line} has no function {mutant.function}")
        return functools.partial(_replace_code, functions[path, mutant.function], code)


def _index_functions() -> dict[tuple[str, str], list[types.FunctionType]]:
    """Return file and qualified name of a function → its objects, also those behind decorators and properties."""
    found: dict[tuple[str, str], list[types.FunctionType]] = {}
    for each in gc.get_objects():
        if type(each) is types.FunctionType:  # isinstance asks lazy objects, which load their modules
            found.setdefault((each.__code__.co_filename, each.__code__.co_qualname), []).append(each)
    return found


def _run_forked(
    session: pytest.Session, tests: Sequence[pytest.Item], change: Callable[[], None] | None = None
) -> Outcome:
    """Run tests in a process of their own after a change, up to the first failure."""
    sys.stdout.flush()
    if (pid := os.fork()) == 0:
        _run_and_exit(session, tests, change)
    started = time.monotonic()
    while (found := os.waitpid(pid, os.WNOHANG))[0] == 0:
        if time.monotonic() - started > _WALL_LIMIT_S:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    return "timeout" if os.WIFSIGNALED(found[1]) else "killed" if found[1] else "survived"


def _run_and_exit(session: pytest.Session, tests: Sequence[pytest.Item], change: Callable[[], None] | None) -> NoReturn:
    status = 1
    try:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
        os.dup2(nothing, 2)
        if change is not None:
            resource.setrlimit(resource.RLIMIT_CPU, (_CPU_LIMIT_S, _CPU_LIMIT_S))
            change()
        followers: list[Any] = [*tests[1:], session]
        for item, follower in zip(tests, followers, strict=True):
            if any(each.failed for each in runtestprotocol(item, log=False, nextitem=follower)):
                break
        else:
            status = 0
    finally:
        os._exit(status)


def _replace_code(functions: Sequence[types.FunctionType], code: types.CodeType) -> None:
    for each in functions:
        if each.__code__.co_freevars == code.co_freevars:
            each.__code__ = code
    _clear_caches(functions[0].__module__)


def _replace_constant(mutant: Mutant, path: str) -> None:
    module = sys.modules[mutant.path.removesuffix(".py").replace("/", ".")]
    old = vars(module)[mutant.constant]
    exec(compile(mutant.make_source(), path, "exec"), vars(module))  # noqa: S102 (the source is our own)
    for other in list(sys.modules.values()):
        if getattr(other, "__dict__", {}).get(mutant.constant) is old:
            vars(other)[mutant.constant] = vars(module)[mutant.constant]
    _clear_caches(module.__name__)


def _clear_caches(module: str) -> None:
    """Forget what functions of the same package returned before: callers keep results of the code that was changed."""
    package = module.partition(".")[0]
    for each in gc.get_objects():
        if type(each) is functools._lru_cache_wrapper and each.__module__.partition(".")[0] == package:
            each.cache_clear()
