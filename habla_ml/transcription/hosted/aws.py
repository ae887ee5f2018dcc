"""Amazon Transcribe through boto3: a batch job for each clip, with audio and text in your own bucket.

Batch jobs instead of streaming: boto3 is AWS's stable client and is needed for S3 anyway. Streaming has only an
experimental client (amazon-transcribe), whose successor needs a newer Python. Both bill at least 15 s. A job for a clip of
3 s takes about 10 s, so many jobs run in parallel. Audio, text and job are deleted after the text is read; a lifecycle
rule of the bucket should delete what a crash leaves.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

from habla_ml.settings.hosted import AwsSettings
from habla_ml.transcription.engine import RecognisedWord
from habla_ml.transcription.hosted.service import (
    CallError,
    EncodedClip,
    clean_text,
    clean_words,
    import_client_library,
    read_secret,
)
from habla_ml.transcription.options import HostedOptions

_NAME: Final = "aws"
_BUSY_CODES: Final = frozenset({"ThrottlingException", "Throttling", "LimitExceededException", "SlowDown"})
_SETUP_CODES: Final = frozenset(
    {"UnrecognizedClientException", "InvalidSignatureException", "ExpiredTokenException", "AccessDeniedException"}
)
_MAX_TRANSCRIPT_BYTES: Final = 4 << 20
"""Largest transcript of 30 s of speech."""


class Aws:
    """See `SpeechService`."""

    def __init__(self, options: HostedOptions, settings: AwsSettings) -> None:
        boto3 = import_client_library("boto3", "hosted-aws")
        from botocore.config import Config

        token = settings.session_token_variable
        session = boto3.session.Session(
            aws_access_key_id=read_secret(settings.access_key_variable, "an AWS access key id"),
            aws_secret_access_key=read_secret(settings.secret_key_variable, "the secret of that access key"),
            aws_session_token=read_secret(token, "a session token") if token else None,
            region_name=settings.region,
        )
        config = Config(
            retries={"total_max_attempts": 1},
            connect_timeout=settings.timeout_s,
            read_timeout=settings.timeout_s,
            max_pool_connections=settings.calls_at_once,
        )
        self._s3: Any = session.client("s3", endpoint_url=settings.endpoint, config=config)
        self._transcribe: Any = session.client("transcribe", endpoint_url=settings.endpoint, config=config)
        self._settings = settings
        self._options = options

    def recognise(self, recording: EncodedClip, timeout_s: float) -> tuple[str, tuple[RecognisedWord, ...]]:
        """See `SpeechService.recognise`: upload, start a job, wait, read the text, and delete everything."""
        from botocore import exceptions

        deadline_s = time.monotonic() + timeout_s
        job = f"habla-ml-{uuid.uuid4().hex}"
        audio, text = f"{self._settings.prefix}{job}.flac", f"{self._settings.prefix}{job}.json"
        started = False
        try:
            self._s3.put_object(Bucket=self._settings.bucket, Key=audio, Body=recording.flac, ContentType="audio/flac")
            self._start_job(job, audio, text)
            started = True
            self._wait_for_job(job, deadline_s, timeout_s)
            return _parse_answer(self._read_transcript(text), recording.duration_s)
        except exceptions.ClientError as error:
            raise _make_call_error(error.response, started) from None
        except (exceptions.EndpointConnectionError, exceptions.ConnectTimeoutError):
            raise _mark_billed(CallError.unreachable(_NAME), started) from None
        except exceptions.ReadTimeoutError:
            raise CallError.timeout(_NAME, timeout_s) from None
        except exceptions.BotoCoreError:
            raise CallError.disconnected(_NAME) from None
        except (ValueError, TypeError, LookupError, AttributeError):
            raise CallError.malformed(_NAME) from None
        finally:
            self._clean_up(job, audio, text, started)

    def close(self) -> None:
        """See `SpeechService.close`."""
        self._s3.close()
        self._transcribe.close()

    def _start_job(self, job: str, audio: str, text: str) -> None:
        model = self._options.model
        self._transcribe.start_transcription_job(
            TranscriptionJobName=job,
            LanguageCode=self._options.language,
            MediaFormat="flac",
            MediaSampleRateHertz=16_000,
            Media={"MediaFileUri": f"s3://{self._settings.bucket}/{audio}"},
            OutputBucketName=self._settings.bucket,
            OutputKey=text,
            **({"ModelSettings": {"LanguageModelName": model}} if model else {}),
        )

    def _wait_for_job(self, job: str, deadline_s: float, timeout_s: float) -> None:
        while True:
            status = self._read_job_status(job)
            if status == "COMPLETED":
                return
            if status == "FAILED":  # do not repeat its FailureReason, which may name the file
                raise CallError(f"{_NAME} could not transcribe this clip", "clip")
            if time.monotonic() + self._settings.poll_s > deadline_s:
                raise CallError.timeout(_NAME, timeout_s)
            time.sleep(self._settings.poll_s)

    def _read_job_status(self, job: str) -> str | None:
        """Return the status of a job; None if the service is busy, because the job runs on and is billed."""
        from botocore.exceptions import ClientError

        try:
            found = self._transcribe.get_transcription_job(TranscriptionJobName=job)["TranscriptionJob"]
        except ClientError as error:
            if _make_call_error(error.response, started=True).kind != "busy":
                raise
            return None
        return str(found["TranscriptionJobStatus"])

    def _read_transcript(self, key: str) -> Any:
        body = self._s3.get_object(Bucket=self._settings.bucket, Key=key)["Body"]
        try:
            data = body.read(_MAX_TRANSCRIPT_BYTES + 1)
        finally:
            body.close()
        if len(data) > _MAX_TRANSCRIPT_BYTES:
            raise CallError.malformed(_NAME)
        return json.loads(data)

    def _clean_up(self, job: str, audio: str, text: str, started: bool) -> None:
        """Delete audio, text and job; ignore failures, because the bucket's lifecycle rule deletes the rest."""
        from botocore.exceptions import BotoCoreError, ClientError

        for key in (audio, text):
            with suppress(ClientError, BotoCoreError):
                self._s3.delete_object(Bucket=self._settings.bucket, Key=key)
        if started:
            with suppress(ClientError, BotoCoreError):
                self._transcribe.delete_transcription_job(TranscriptionJobName=job)


def _make_call_error(answer: Any, started: bool) -> CallError:
    metadata, error = answer.get("ResponseMetadata", {}), answer.get("Error", {})
    code, status = error.get("Code"), int(metadata.get("HTTPStatusCode") or 500)
    if code in _BUSY_CODES:
        status = 429
    elif code in _SETUP_CODES:
        status = 403
    return _mark_billed(
        CallError.from_status(_NAME, status, metadata.get("HTTPHeaders", {}).get("retry-after"), code), started
    )


def _mark_billed(fault: CallError, started: bool) -> CallError:
    """Mark an error after the start of a job as billed, because the job is billed in any case."""
    return CallError(fault.reason, fault.kind, fault.retry_after_s, fault.may_be_billed or started)


def _parse_answer(answer: Any, duration_s: float) -> tuple[str, tuple[RecognisedWord, ...]]:
    results = answer["results"]
    text = " ".join(clean_text(_NAME, each["transcript"]) for each in results["transcripts"])
    return clean_text(_NAME, text), clean_words(_NAME, _iterate_words(results["items"]), duration_s)


def _iterate_words(items: list[Any]) -> Iterator[tuple[object, object, object, object]]:
    """Yield words; punctuation is an item without times and is appended to the word before it."""
    waiting: tuple[str, object, object, object] | None = None
    for item in items:
        best = item["alternatives"][0]
        if item["type"] == "punctuation":
            if waiting is not None:
                waiting = (f"{waiting[0]}{best['content']}", *waiting[1:])
            continue
        if waiting is not None:
            yield waiting
        waiting = (best["content"], item["start_time"], item["end_time"], best.get("confidence"))
    if waiting is not None:
        yield waiting
