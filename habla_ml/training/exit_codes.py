"""Exit codes of the training program and its launchers, besides 0, 1 after an error, and 130 after an interrupt."""

from __future__ import annotations

import signal
from typing import Final

EXIT_ENVIRONMENT: Final = 75
"""After a fault of the environment, such as a full disk: EX_TEMPFAIL of sysexits.h. The next run may succeed."""
EXIT_RESTART: Final = 79
"""The process wrote a remedy that all processes of the training need. The launcher starts them again."""
EXIT_KILLED: Final = 128 + signal.SIGKILL
"""A launcher's code where a process of the training was killed."""
