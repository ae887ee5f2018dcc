"""Kill real processes at chosen steps of their work."""

from __future__ import annotations

import fcntl
import os
import signal
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_FILE_STEPS = [(os, name) for name in ("open", "mkdir", "fchmod", "fsync", "link", "replace", "unlink", "rename")]
_FILE_STEPS.append((fcntl, "flock"))


def run_until_killed(work: Callable[[Callable[[], None]], None], step: int) -> bool:
    """Run `work` in a forked process and kill it before its `step`-th step; return True if it was killed.

    `work` receives a function and calls it before each step.
    """
    child = os.fork()
    if child == 0:
        code = 1
        try:
            taken = 0

            def before_step() -> None:
                nonlocal taken
                taken += 1
                if taken == step:
                    os.kill(os.getpid(), signal.SIGKILL)

            work(before_step)
            code = 0
        except BaseException:  # noqa: BLE001 (a forked child must not return into the test runner)
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def hook_file_calls(before_step: Callable[[], None]) -> None:
    """Call `before_step` before each later call that changes the file system in this process."""

    def watched(call: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **options: Any) -> Any:
            before_step()
            return call(*arguments, **options)

        return step

    for module, name in _FILE_STEPS:
        setattr(module, name, watched(getattr(module, name)))


def hook_s3_requests(client: S3Client, before_step: Callable[[], None]) -> None:
    """Call `before_step` before each later request of `client`."""

    def step(**_: Any) -> None:
        before_step()

    client.meta.events.register("before-send.s3", step)
