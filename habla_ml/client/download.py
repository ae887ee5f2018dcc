"""Save a download completely and checked, or not at all."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import httpx

from habla_ml.client.problems import DamagedDownloadError, ServiceUnreachableError, read_problem
from habla_ml.errors import InputError


def save_download(
    http: httpx.Client,
    url: str,
    path: Path,
    headers: dict[str, str],
    size_bytes: int | None = None,
    sha256: str | None = None,
) -> None:
    """Save what an address answers in `path`, which until then keeps an earlier file.

    `url` is absolute, or a path of the client's service. `size_bytes` and `sha256` (in hex) are checked where given; not
    more than `size_bytes` are read.

    Raises:
        ServiceUnreachableError: The connection failed or was cut off.
        ProblemReceivedError: The answer is no success.
        DamagedDownloadError: Size or sha256 are others.
        InputError: The address is relative, as in a deployment without `release.public_url`.
    """
    if not url.startswith(("/", "http://", "https://")):
        raise InputError(f"the address {url!r} is relative; set release.public_url in the service's settings")
    unfinished = path.with_name(f"{path.name}.unfinished")
    try:
        with http.stream("GET", url, headers=headers, follow_redirects=True) as answer:
            if not answer.is_success:
                answer.read()
                raise read_problem(answer)
            _write_checked(answer, unfinished, size_bytes, sha256)
        unfinished.replace(path)
    except httpx.RequestError as error:
        raise ServiceUnreachableError(f"a download was cut off ({type(error).__name__}); try again later") from error
    finally:
        unfinished.unlink(missing_ok=True)


def _write_checked(answer: httpx.Response, path: Path, size_bytes: int | None, sha256: str | None) -> None:
    digest, received = hashlib.sha256(), 0
    with path.open("wb") as file:
        for part in answer.iter_bytes():
            received += len(part)
            if size_bytes is not None and received > size_bytes:
                break
            digest.update(part)
            file.write(part)
        file.flush()
        os.fsync(file.fileno())
    if size_bytes is not None and received != size_bytes:
        raise DamagedDownloadError(f"the download has {received:,} bytes or more instead of {size_bytes:,}; try later")
    if sha256 is not None and digest.hexdigest() != sha256:
        raise DamagedDownloadError("the download has another sha256 than the service named; try again later")
