"""Save a download completely, or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import httpx

from habla_ml.client.problems import ServiceUnreachableError, read_problem


def save_download(http: httpx.Client, url: str, path: Path, headers: dict[str, str]) -> None:
    """Save what an address of the client's service answers in `path`, which until then keeps an earlier file.

    Raises:
        ServiceUnreachableError: The connection failed or was cut off.
        ProblemReceivedError: The answer is no success.
    """
    unfinished = path.with_name(f"{path.name}.unfinished")
    try:
        with http.stream("GET", url, headers=headers) as answer:
            if not answer.is_success:
                answer.read()
                raise read_problem(answer)
            with unfinished.open("wb") as file:
                for part in answer.iter_bytes():
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
        unfinished.replace(path)
    except httpx.RequestError as error:
        raise ServiceUnreachableError(f"a download was cut off ({type(error).__name__}); try again later") from error
    finally:
        unfinished.unlink(missing_ok=True)
