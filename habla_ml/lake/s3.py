"""A store on S3 or any endpoint that speaks its protocol with conditional writes.

`If-None-Match: *` gives a put one winner. `If-Match: <etag>` makes it a compare-and-set. An endpoint that ignores these
headers loses data silently, so `probe_conditional_writes` tests it first.

Every put stores the id of its write in the object's metadata. If the answer to a put is lost and the client sends it
again, the second answer is 412; the id then shows that this write succeeded.

Parts of an interrupted upload are invisible but cost money: give the bucket a lifecycle rule
`AbortIncompleteMultipartUpload` of one day.
"""

from __future__ import annotations

import base64
import hashlib
import io
import mimetypes
import os
import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from habla_ml.errors import LakeError
from habla_ml.lake.s3_errors import get_error_code, translate_s3_errors
from habla_ml.lake.store import (
    RENEWED_AFTER,
    Store,
    StoreEntry,
    VersionedValue,
    check_key,
    check_prefix,
    check_sha256,
    open_source,
)

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef

_PART_BYTES = 64 << 20  # S3 allows 10,000 parts: 640 GB a value
_CONFLICT_ATTEMPTS = 8
_READ_ATTEMPTS = 5
_PRECONDITION_FAILED_CODES = {"PreconditionFailed", "412"}
_CONFLICT_CODES = {"ConditionalRequestConflict", "OperationAborted", "409"}
_NOT_FOUND_CODES = {"NoSuchKey", "NotFound", "404"}
_NO_UPLOAD_CODE = "NoSuchUpload"
# A CDN caches objects without Cache-Control for a day, too long for a pointer.
_CACHE_FOREVER = "public, max-age=31536000, immutable"


class _ConditionalPut:
    """The headers of a conditional put."""

    def __init__(self, name: str, condition: Mapping[str, Any], cache_control: str) -> None:
        self.name, self.condition, self.write_id = name, condition, uuid.uuid4().hex
        content_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
        self.headers: dict[str, Any] = {"Key": name, "ContentType": content_type, "CacheControl": cache_control}
        self.headers["Metadata"] = {"write": self.write_id}


class S3Store(Store):
    """Values as objects of one bucket with names that begin with `prefix`."""

    parallel_reads = 10
    """Latency dominates, and botocore keeps ten connections."""

    def __init__(
        self,
        client: S3Client,
        bucket: str,
        prefix: str = "",
        part_bytes: int = _PART_BYTES,
        on_replaced: Callable[[str], None] | None = None,
    ) -> None:
        """Upload values of `part_bytes` or more in parts of that size; AWS requires at least 5 MiB.

        `on_replaced` is called with each key whose value was set by `compare_and_set`, or deleted.
        """
        self._opened_client, self._process_id = client, os.getpid()
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._part_bytes = part_bytes
        self._on_replaced = on_replaced or (lambda _: None)

    @property
    def _client(self) -> S3Client:
        """The client, which in a forked process opens connections of its own."""
        if os.getpid() != self._process_id:
            self._opened_client.close()
            self._process_id = os.getpid()
        return self._opened_client

    @property
    def url(self) -> str:
        """`s3://bucket/prefix`."""
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    @property
    def location(self) -> str:
        """See `Store.location`."""
        return f"{self.url} at {self._client.meta.endpoint_url}"

    def put_if_absent(self, key: str, source: bytes | Path, sha256: str | None = None) -> bool:
        """See `Store.put_if_absent`."""
        put = _ConditionalPut(self._make_object_name(key), {"IfNoneMatch": "*"}, _CACHE_FOREVER)
        with self._translate_request_errors(f"write {key}"):
            if self._renew(put):
                return False
            with open_source(source) as body:
                tag = self._put_with_retries(put, body, sha256)
        return tag is not None

    def read_versioned(self, key: str) -> VersionedValue | None:
        """See `Store.read_versioned`; the tag is the ETag."""
        return self._get_object(key)

    def compare_and_set(self, key: str, data: bytes, expected: str | None) -> str:
        """See `Store.compare_and_set`."""
        condition = {"IfNoneMatch": "*"} if expected is None else {"IfMatch": expected}
        put = _ConditionalPut(self._make_object_name(key), condition, "no-cache")
        with self._translate_request_errors(f"write {key}"):
            tag = self._put_with_retries(put, io.BytesIO(data), None)
        if tag is None:
            raise self._make_moved_error(key)
        self._on_replaced(key)
        return tag

    def list(self, prefix: str) -> Iterator[StoreEntry]:
        """See `Store.list`; in pages of 1,000. A key that ends with a slash is a folder that a console made, and no value."""
        start = self._prefix + check_prefix(prefix)
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=start)
        with self._translate_request_errors(f"list {prefix or 'everything'}"):
            for page in pages:
                for each in page.get("Contents", []):
                    key = each["Key"].removeprefix(self._prefix)
                    if key and not key.endswith("/") and "/." not in f"/{key}":  # not a probe
                        yield StoreEntry(key, each["Size"], each["LastModified"], each["ETag"].strip('"'))

    def fetch(self, key: str, destination: Path) -> None:
        """See `Store.fetch`; downloads parts in parallel and resumes broken transfers."""
        with self._translate_request_errors(f"fetch {key}"):
            try:
                self._client.download_file(self._bucket, self._make_object_name(key), str(destination))
            except self._client.exceptions.ClientError as error:
                if get_error_code(error) in _NOT_FOUND_CODES:
                    raise self._make_missing_error(key) from None
                raise
            except OSError as error:
                raise LakeError(f"cannot write {destination}: {error.strerror}; free some space there") from error

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """See `Store.read_range`; one request."""
        found = self._get_object(key, Range=f"bytes={start}-{start + max(length, 1) - 1}")
        if found is None:
            raise self._make_missing_error(key)
        return found.data[:length]

    def read_size_bytes(self, key: str) -> int:
        """See `Store.read_size_bytes`."""
        with self._translate_request_errors(f"read {key}"):
            found = self._read_headers(self._make_object_name(key))
        if found is None:
            raise self._make_missing_error(key)
        return found["ContentLength"]

    def delete(self, key: str, unmodified_since: datetime | None = None) -> bool:
        """See `Store.delete`; the owner of a bucket with versions must purge old versions.

        S3 has no condition on the time of a deletion, so the time is read immediately before. The deletion is for the
        content that was read then, so that one that arrives late spares a newer value.
        """
        name = self._make_object_name(key)
        with self._translate_request_errors(f"delete {key}"):
            for attempt in range(1, _CONFLICT_ATTEMPTS + 1):
                found = self._read_headers(name)
                if found is None or (unmodified_since is not None and found["LastModified"] >= unmodified_since):
                    return False
                try:
                    self._client.delete_object(Bucket=self._bucket, Key=name, IfMatch=found["ETag"])
                    break
                except self._client.exceptions.ClientError as error:
                    code = get_error_code(error)
                    if code in _NOT_FOUND_CODES:  # a repeat, after the answer was lost
                        break
                    has_changed = code in _PRECONDITION_FAILED_CODES | _CONFLICT_CODES
                    if not has_changed or attempt == _CONFLICT_ATTEMPTS:
                        raise
        self._on_replaced(key)
        return True

    def delete_unfinished(self, before: datetime) -> int:
        """See `Store.delete_unfinished`; aborts uploads in parts that were begun before."""
        aborted = 0
        pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self._bucket, Prefix=self._prefix)
        with self._translate_request_errors("list unfinished uploads"):
            for each in (upload for page in pages for upload in page.get("Uploads", [])):
                aborted += each["Initiated"] < before and self._abort_upload(each["Key"], each["UploadId"])
        return aborted

    def _abort_upload(self, name: str, upload_id: str) -> bool:
        """Abort an upload in parts; return False if it ended, which a listing can show later."""
        try:
            self._client.abort_multipart_upload(Bucket=self._bucket, Key=name, UploadId=upload_id)
        except self._client.exceptions.ClientError as error:
            if get_error_code(error) != _NO_UPLOAD_CODE:
                raise
            return False
        return True

    def local_path(self, key: str) -> None:
        """Return None: values on S3 have no local file."""
        check_key(key)

    def _make_object_name(self, key: str) -> str:
        return self._prefix + check_key(key)

    def _get_object(self, key: str, **options: Any) -> VersionedValue | None:
        """Return the value, or None; asks again if the answer breaks off, which botocore does not."""
        from botocore.exceptions import IncompleteReadError, ReadTimeoutError, ResponseStreamingError

        name = self._make_object_name(key)
        with self._translate_request_errors(f"read {key}"):
            attempt = 1
            while True:
                try:
                    answer = self._client.get_object(Bucket=self._bucket, Key=name, **options)
                    return VersionedValue(answer["Body"].read(), answer["ETag"], answer["ETag"].strip('"'))
                except self._client.exceptions.ClientError as error:
                    if get_error_code(error) in _NOT_FOUND_CODES:
                        return None
                    if get_error_code(error) == "InvalidRange":  # the value is empty
                        return VersionedValue(b"", "", "")
                    raise
                except (IncompleteReadError, ReadTimeoutError, ResponseStreamingError):
                    if attempt == _READ_ATTEMPTS:
                        raise
                attempt += 1
                _wait_before(attempt)

    def _read_headers(self, name: str) -> HeadObjectOutputTypeDef | None:
        """Return the headers of the object `name`, or None if it does not exist."""
        try:
            return self._client.head_object(Bucket=self._bucket, Key=name)
        except self._client.exceptions.ClientError as error:
            if get_error_code(error) in _NOT_FOUND_CODES:
                return None
            raise

    def _renew(self, put: _ConditionalPut) -> bool:
        """Return whether the object exists; one that has not been modified for `RENEWED_AFTER` is copied onto itself."""
        found = self._read_headers(put.name)
        if found is None:
            return False
        if datetime.now(UTC) - found["LastModified"] > RENEWED_AFTER:
            headers = {key: value for key, value in put.headers.items() if key != "Key"}
            self._client.copy(
                {"Bucket": self._bucket, "Key": put.name},
                self._bucket,
                put.name,
                ExtraArgs={**headers, "MetadataDirective": "REPLACE"},
            )
        return True

    def _put_with_retries(self, put: _ConditionalPut, body: IO[bytes], sha256: str | None) -> str | None:
        """Put with back-off while the endpoint answers 409; return the tag, or None if another writer won."""
        for attempt in range(1, _CONFLICT_ATTEMPTS + 1):
            try:
                return self._put(put, body, sha256)
            except self._client.exceptions.ClientError as error:
                code = get_error_code(error)
                # The answer to If-Match on a deleted pointer is 404.
                if code in _PRECONDITION_FAILED_CODES or (code in _NOT_FOUND_CODES and "IfMatch" in put.condition):
                    break
                # A completion that is sent again after its answer was lost; nothing is there if the upload was aborted.
                if code == _NO_UPLOAD_CODE and self._read_headers(put.name) is not None:
                    break
                if code not in _CONFLICT_CODES or attempt == _CONFLICT_ATTEMPTS:
                    raise
                _wait_before(attempt + 1)
        present = self._read_headers(put.name)
        is_ours = present is not None and present["Metadata"].get("write") == put.write_id
        return present["ETag"] if present is not None and is_ours else None

    def _put(self, put: _ConditionalPut, body: IO[bytes], sha256: str | None) -> str:
        """Put `body` from its start, once; return the tag."""
        body.seek(0)
        data = body.read(self._part_bytes)
        if len(data) == self._part_bytes:
            return self._put_in_parts(put, data, body, sha256)
        check_sha256(put.name, hashlib.sha256(data).hexdigest(), sha256)
        return self._client.put_object(
            Bucket=self._bucket, Body=data, ChecksumSHA256=_encode_checksum(data), **put.headers, **put.condition
        )["ETag"]

    def _put_in_parts(self, put: _ConditionalPut, first: bytes, body: IO[bytes], sha256: str | None) -> str:
        """Put `first` and the rest of `body`, one part in memory at a time; the completion is conditional."""
        from botocore.exceptions import BotoCoreError

        upload: dict[str, Any] = {"Bucket": self._bucket, "Key": put.name}
        begun = self._client.create_multipart_upload(Bucket=self._bucket, ChecksumAlgorithm="SHA256", **put.headers)
        upload["UploadId"] = begun["UploadId"]
        parts: Any = []
        written, data = hashlib.sha256(), first
        try:
            while data:
                written.update(data)
                part: Any = {"PartNumber": len(parts) + 1, "ChecksumSHA256": _encode_checksum(data)}
                parts.append({**part, "ETag": self._client.upload_part(Body=data, **upload, **part)["ETag"]})
                data = body.read(self._part_bytes)
            check_sha256(put.name, written.hexdigest(), sha256)
            done = self._client.complete_multipart_upload(MultipartUpload={"Parts": parts}, **upload, **put.condition)
            return done["ETag"]
        except BaseException:
            # Also after Ctrl-C: parts of an open upload cost money. Report the first error.
            with suppress(BotoCoreError, self._client.exceptions.ClientError):
                self._client.abort_multipart_upload(**upload)
            raise

    @contextmanager
    def _translate_request_errors(self, purpose: str) -> Iterator[None]:
        with translate_s3_errors(f"cannot {purpose} in {self.url} at {self._client.meta.endpoint_url}"):
            yield


def probe_conditional_writes(client: S3Client, bucket: str, prefix: str = "") -> None:
    """Test with a few small writes whether an endpoint supports conditional writes.

    The endpoint must refuse the second of two puts with `If-None-Match: *` and a put with a stale `If-Match`, both with
    412, refuse one with `If-Match` where nothing is, and accept one with the present ETag. Otherwise raises `LakeError`.
    """
    endpoint, store = client.meta.endpoint_url, S3Store(client, bucket)
    name = f"{prefix.strip('/')}/.probe/{uuid.uuid4().hex}".lstrip("/")

    def put(data: bytes, condition: Mapping[str, Any], name: str = name) -> str | None:
        """Return the tag, or None if the condition was not met; a lost answer counts as done."""
        return store._put_with_retries(_ConditionalPut(name, condition, "no-cache"), io.BytesIO(data), None)

    with translate_s3_errors(f"cannot test conditional writes in s3://{bucket}/{name} at {endpoint}"):
        tag = put(b"1", {"IfNoneMatch": "*"})
        second = put(b"2", {"IfNoneMatch": "*"})
        stale = put(b"3", {"IfMatch": '"00000000000000000000000000000000"'})
        current = put(b"4", {"IfMatch": tag or ""})
        revived = put(b"5", {"IfMatch": tag or ""}, f"{name}-missing")
        # The credentials may lack the right to delete; then a few bytes remain.
        with suppress(client.exceptions.ClientError):
            for each in (name, f"{name}-missing") if revived else (name,):
                client.delete_object(Bucket=bucket, Key=each)
    faults = {
        "a first put with If-None-Match: * was refused": tag is None,
        "a second put with If-None-Match: * overwrote the first": second is not None,
        "a put with a stale If-Match overwrote a newer value": stale is not None,
        "a put with the present If-Match was refused": current is None,
        "a put with If-Match stored a value that was deleted": revived is not None,
    }
    if found := [fault for fault, present in faults.items() if present]:
        raise LakeError(
            f"the S3 endpoint {endpoint} does not support conditional writes (bucket {bucket}): {'; '.join(found)}. "
            "Two runs could overwrite each other's results. Use AWS S3, MinIO or another endpoint that supports "
            "If-None-Match and If-Match, or use a folder"
        )


def _wait_before(attempt: int) -> None:
    """Wait before an attempt, from the second one on: longer each time, and not as long as others do."""
    time.sleep(random.uniform(0.5, 1.0) * 0.05 * 2 ** (attempt - 1))  # noqa: S311 (jitter, no secret)


def _encode_checksum(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()
