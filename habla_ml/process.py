"""Requests of a process to the operating system."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
_NEVER = 2**31 - 1
_SPIN_COUNT = "1000"
_PARENT_POLL_S = 1.0
_CHILD_POLL_S = 0.2
_STOP_S = 60.0


def die_with_parent(parent_pid: int) -> None:
    """Make this process end as soon as its parent ends.

    Linux sends a signal when the parent thread ends. Elsewhere a thread checks every second whether the parent changed.

    Args:
        parent_pid: Id of the parent process; if it has ended already, this process ends at once.

    Raises:
        OSError: The kernel refused the request.
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


def run_until_one_ends(commands: Sequence[Sequence[str]], folder: Path, log: Path | None = None) -> int:
    """Run programs in a folder until one of them ends, or this process gets SIGINT or SIGTERM; then end all.

    A program that does not end within a minute is killed.
    Each program has its own session, so that Ctrl+C in a terminal reaches it once. If this process is killed, Linux kills
    them. Their output goes to the file `log`, which is replaced, or to the terminal.

    Returns:
        The exit status of the program that ended first; 0 after a signal to this process.
    """
    asked = threading.Event()

    def ask(_number: int, _frame: Any) -> None:
        asked.set()

    signal.signal(signal.SIGINT, ask)
    signal.signal(signal.SIGTERM, ask)
    attach = partial(die_with_parent, os.getpid())
    # The process has one thread here, so a function between fork and exec is safe.
    start = partial(subprocess.Popen, cwd=folder, start_new_session=True, preexec_fn=attach)
    with nullcontext() if log is None else log.open("wb") as output:
        running = [start(each, stdout=output, stderr=output) for each in commands]
    ended = None
    while ended is None and not asked.is_set():
        time.sleep(_CHILD_POLL_S)
        ended = next((each for each in running if each.poll() is not None), None)
    for each in running:
        if each.poll() is None:
            each.send_signal(signal.SIGINT)
    for each in running:
        try:
            each.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            each.kill()
            each.wait()
    return 0 if ended is None else ended.returncode


def find_port_problem(port: int) -> str | None:
    """Return why no program here can listen on a port of 127.0.0.1, or None.

    For programs that take another port without a message.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return f"port {port} of 127.0.0.1 cannot be used: {error.strerror}; end the program that listens there"
    return None


def sync_folder(folder: Path) -> None:
    """Write the files of a folder, and its entries, through to the disk, so that a loss of power leaves none of them empty."""
    for path in (*folder.rglob("*"), folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def let_waiting_threads_sleep() -> None:
    """Let OpenMP's threads sleep soon while they wait for each other, unless the environment sets another policy.

    By default they spin for some milliseconds, which takes the cores from the threads that they wait for as soon as another
    program runs. A thousand turns are enough where nothing else does. Call this before torch is loaded, which reads the
    variable; it is that of GNU's OpenMP, which torch has on Linux.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPIN_COUNT)


def keep_freed_memory() -> None:
    """Let the C library keep freed memory for reuse; the process stays at its peak until it ends.

    The tensors of a 30 s window are so large that glibc maps and unmaps each of them and the kernel clears every page
    again, which takes a third of the decoding time on a CPU. Without glibc this does nothing.
    """
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, _NEVER)


def read_memory_bytes(cgroups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int:
    """Return the bytes that this process may use: those of the machine, or less in a container or a limited service.

    Args:
        cgroups: Where the control groups are mounted, version 2 or 1.
        own: The groups of this process, as Linux lists them: `number:controllers:path` in lines.
    """
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for line in own.read_text("utf-8").splitlines() if own.exists() else ():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, name = cgroups, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = cgroups / "memory", "memory.limit_in_bytes"
        else:
            continue
        group = root / path.lstrip("/")
        # A container may see its own group as the root, under another path than the listed one.
        for folder in (group, *(each for each in group.parents if each.is_relative_to(root))):
            text = (folder / name).read_text("utf-8").strip() if (folder / name).is_file() else "max"
            if text.isdecimal():
                limits.append(int(text))
    return min(limits)


@contextmanager
def hold_lock(path: Path, make_error: Callable[[str], Exception]) -> Iterator[None]:
    """Hold the lock of a file, whose folder is created; the system releases it when the process ends for any reason.

    Args:
        path: The file. It has the id of the process that holds its lock.
        make_error: Returns what is raised while another process holds the lock; gets that process's id.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise make_error(lock.read().strip() or "(unknown id)") from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield
