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
from collections.abc import Iterable
from contextlib import closing, suppress
from typing import Any, Final

from habla_ml.settings.hosted import AwsSettings
from habla_ml.transcription.hosted.service import (
    CallError,
    HttpStatus,
    RawWord,
    SpeechService,
    import_client_library,
    read_secret,
)
from habla_ml.transcription.options import HostedOptions

_BUSY_CODES: Final = frozenset({"ThrottlingException", "Throttling", "LimitExceededException", "SlowDown"})
_SETUP_CODES: Final = frozenset(
    {"UnrecognizedClientException", "InvalidSignatureException", "ExpiredTokenException", "AccessDeniedException"}
)
_MAX_TRANSCRIPT_BYTES: Final = 4 << 20
"""Largest transcript of 30 s of speech."""


class Aws(SpeechService):
    """See `SpeechService`; a job that started is billed in any case."""

    name = "aws"

    def __init__(self, options: HostedOptions, settings: AwsSettings) -> None:
        boto3 = import_client_library("boto3", "hosted-aws")
        from botocore import exceptions
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
        self.errors = {
            exceptions.ClientError: _read_status,
            exceptions.EndpointConnectionError: "unreachable",
            exceptions.ConnectTimeoutError: "unreachable",
            exceptions.ReadTimeoutError: "timeout",
            TimeoutError: "timeout",
            exceptions.BotoCoreError: "disconnected",
        }

    def _request(self, flac: bytes, timeout_s: float) -> tuple[Iterable[object], Iterable[RawWord]]:
        """See `SpeechService._request`: upload, start a job, wait, read the text, and delete everything."""
        deadline_s = time.monotonic() + timeout_s
        job = f"habla-ml-{uuid.uuid4().hex}"
        audio, text = f"{self._settings.prefix}{job}.flac", f"{self._settings.prefix}{job}.json"
        started = False
        try:
            self._s3.put_object(Bucket=self._settings.bucket, Key=audio, Body=flac, ContentType="audio/flac")
            self._start_job(job, audio, text)
            started = True
            self._wait_for_job(job, deadline_s)
            results = self._read_transcript(text)["results"]
            return [each["transcript"] for each in results["transcripts"]], _read_words(results["items"])
        except tuple(self.errors) as error:
            fault = self._make_call_error(error, timeout_s)
            fault.may_be_billed |= started
            raise fault from None
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

    def _wait_for_job(self, job: str, deadline_s: float) -> None:
        from botocore.exceptions import ClientError

        while True:
            try:
                found = self._transcribe.get_transcription_job(TranscriptionJobName=job)["TranscriptionJob"]
            except ClientError as error:
                # While the service is busy, the job runs on.
                if self._make_call_error(error, 0.0).kind != "busy":
                    raise
                found = {"TranscriptionJobStatus": "IN_PROGRESS"}
            if found["TranscriptionJobStatus"] == "COMPLETED":
                return
            if found["TranscriptionJobStatus"] == "FAILED":  # do not repeat its FailureReason, which may name the file
                raise CallError(f"{self.name} could not transcribe this clip", "clip")
            if time.monotonic() + self._settings.poll_s > deadline_s:
                raise TimeoutError
            time.sleep(self._settings.poll_s)

    def _read_transcript(self, key: str) -> Any:
        with closing(self._s3.get_object(Bucket=self._settings.bucket, Key=key)["Body"]) as body:
            data = body.read(_MAX_TRANSCRIPT_BYTES + 1)
        if len(data) > _MAX_TRANSCRIPT_BYTES:
            raise ValueError(f"a transcript of more than {_MAX_TRANSCRIPT_BYTES} bytes")
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


def _read_status(error: Any) -> HttpStatus:
    metadata, code = error.response.get("ResponseMetadata", {}), error.response.get("Error", {}).get("Code")
    status = 429 if code in _BUSY_CODES else 403 if code in _SETUP_CODES else metadata.get("HTTPStatusCode") or 500
    return int(status), metadata.get("HTTPHeaders"), code


def _read_words(items: list[Any]) -> list[RawWord]:
    """Return words; punctuation is an item without times and is appended to the word before it."""
    words: list[RawWord] = []
    for item in items:
        best = item["alternatives"][0]
        if item["type"] != "punctuation":
            words.append((best["content"], item["start_time"], item["end_time"], best.get("confidence")))
        elif words:
            words[-1] = (f"{words[-1][0]}{best['content']}", *words[-1][1:])
    return words
