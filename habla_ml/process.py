"""What a process of ours asks of the operating system."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading

_PR_SET_PDEATHSIG = 1
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
_NEVER = 2**31 - 1
_PARENT_POLL_S = 1.0


def die_with_parent(parent_pid: int) -> None:
    """Make this process end as soon as the one that started it does.

    Linux has a signal for it, which comes when the thread that started us ends; elsewhere a thread looks every
    second whether we were handed to another parent.

    Args:
        parent_pid: Of the process that started this one; if it is gone already, this one ends at once.

    Raises:
        OSError: The kernel refused.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    else:
        threading.Thread(target=_watch_parent, args=(parent_pid,), daemon=True).start()
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), signal.SIGKILL)


def _watch_parent(parent_pid: int) -> None:
    waiting = threading.Event()
    while os.getppid() == parent_pid:
        waiting.wait(_PARENT_POLL_S)
    os.kill(os.getpid(), signal.SIGKILL)


def keep_freed_memory() -> None:
    """Let the C library keep what is freed for the next use; the process stays at its peak until it ends.

    A 30 s window's tensors are so large that glibc maps and unmaps each of them, and the kernel clears every
    page again: a third of the time of decoding on a CPU. Without glibc there is nothing to set.
    """
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, _NEVER)
