"""The operating systems that habla_ml runs on.

The lake and the training hold POSIX file locks, and child processes end with their parent by POSIX signals. Windows has
neither, but its Linux subsystem (WSL) has.
"""

import platform
from typing import Final

WINDOWS_PAGE: Final = "docs/operate.md"
"""The page with the steps for Windows."""


def describe_unsupported_platform(system: str) -> str | None:
    """Return why habla_ml cannot run on `system` (a value of `sys.platform`) and the next step; None where it can."""
    if system != "win32":
        return None
    return (
        "habla_ml runs on Linux, macOS and WSL, not on Windows itself. Install WSL (`wsl --install` in PowerShell), open "
        "its Linux terminal and install habla_ml there; Habla stays on Windows, and its folder is below /mnt/c. The "
        f"steps: {WINDOWS_PAGE}, section Windows"
    )


def describe_platform() -> str:
    """Return the operating system in words, such as `Linux under WSL`."""
    if platform.system() == "Darwin":
        return f"macOS {platform.mac_ver()[0]}"
    name = platform.system()
    return f"{name} under WSL" if "microsoft" in platform.release().lower() else name
