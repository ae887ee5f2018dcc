"""Amazon Transcribe through boto3 against moto's server, which stores jobs and buckets; the tests supply the texts."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import Any

import boto3
import numpy as np
import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from habla_ml.audio import encode_flac
from habla_ml.settings.hosted import AwsSettings
from habla_ml.transcription.hosted.aws import Aws
from habla_ml.transcription.hosted.service import CallError, EncodedClip
from habla_ml.transcription.options import HostedOptions
from habla_ml_tests.testing.faulty_s3_server import QuietRequestHandler
from habla_ml_tests.testing.transcription_service import build_aws_transcript
from habla_ml_tests.transcription.hosted.conftest import KEY

pytestmark = pytest.mark.slow

BUCKET = "school-voices"
CLIP = EncodedClip(encode_flac((0.1 * np.sin(np.arange(32_000) / 9)).astype(np.float32)), 2.0)
WORDS = [("Vamos", 0.1, 0.5), ("a", 0.5, 0.6), ("casa.", 0.6, 1.1)]


class FakeAmazonTranscribe:
    """moto, which writes `text` to the bucket for each job; `faults` are answers by operation that it gives first."""

    def __init__(self) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)
        self.url = ""
        self.s3: Any = None
        self.reset()

    def reset(self) -> None:
        self.text: bytes | None = json.dumps(build_aws_transcript("Vamos a casa.", WORDS)).encode()
        self.faults: dict[str, list[tuple[int, str]]] = {}
        self.jobs: list[dict[str, Any]] = []
        self.uploaded: list[bytes] = []
        self.never_ends = False

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        operation = environ.get("HTTP_X_AMZ_TARGET", "").partition(".")[2] or environ["REQUEST_METHOD"]
        if operation == "GET" and environ["PATH_INFO"].endswith(".json"):
            operation = "GetText"
        status, body = "", b""
        if self.faults.get(operation):
            number, code = self.faults[operation].pop(0)
            status, body = f"{number} No", json.dumps({"__type": code, "Message": f"{KEY} {code}"}).encode()
            if operation in {"PUT", "GetText"}:
                body = f"<Error><Code>{code}</Code><Message>{KEY}</Message></Error>".encode()
        elif operation == "GetTranscriptionJob" and self.never_ends:
            status, body = "200 OK", b'{"TranscriptionJob": {"TranscriptionJobStatus": "IN_PROGRESS"}}'
        if status:
            start_response(status, [("Content-Length", str(len(body))), ("Retry-After", "3")])
            return [body]
        if operation == "StartTranscriptionJob":
            data = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
            environ["wsgi.input"] = io.BytesIO(data)
            job = json.loads(data)
            self.jobs.append(job)
            key = job["Media"]["MediaFileUri"].removeprefix(f"s3://{BUCKET}/")
            self.uploaded.append(self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())
            if self.text is not None:
                self.s3.put_object(Bucket=BUCKET, Key=job["OutputKey"], Body=self.text)
        answer: Iterable[bytes] = self._moto(environ, start_response)
        return answer


@pytest.fixture(scope="module")
def server() -> Iterator[FakeAmazonTranscribe]:
    app = FakeAmazonTranscribe()
    http = make_server("127.0.0.1", 0, app, threaded=True, request_handler=QuietRequestHandler)
    threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    app.url = f"http://127.0.0.1:{http.server_port}"
    session = boto3.session.Session("AKIAEXAMPLE", "of this test", region_name="eu-central-1")
    app.s3 = session.client("s3", endpoint_url=app.url)
    app.s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    yield app
    http.shutdown()


@pytest.fixture
def app(server: FakeAmazonTranscribe) -> FakeAmazonTranscribe:
    server.reset()
    return server


def open_aws(url: str, model: str | None = None) -> closing[Aws]:
    settings = AwsSettings(endpoint=url, bucket=BUCKET, monthly_cap_usd=1, poll_s=0.02)
    return closing(Aws(HostedOptions(engine="aws", model=model), settings))


@pytest.fixture
def aws(app: FakeAmazonTranscribe, credentials: str) -> Iterator[Aws]:
    with open_aws(app.url) as opened:
        yield opened


def catch_aws_error(aws: Aws, timeout_s: float = 5.0) -> CallError:
    with pytest.raises(CallError) as caught:
        aws.recognise(CLIP, timeout_s)
    return caught.value


def list_bucket_keys(app: FakeAmazonTranscribe) -> list[str]:
    return [each["Key"] for each in app.s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])]


def test_a_job_gives_text_and_words_and_leaves_nothing_in_the_bucket(aws: Aws, app: FakeAmazonTranscribe) -> None:
    text, words = aws.recognise(CLIP, 5.0)
    assert text == "Vamos a casa."
    assert [(each.text, each.start_s, each.end_s, each.confidence) for each in words] == [
        ("Vamos", 0.1, 0.5, 0.9),
        ("a", 0.5, 0.6, 0.9),
        ("casa.", 0.6, 1.1, 0.9),
    ]
    (job,) = app.jobs
    assert (job["LanguageCode"], job["MediaFormat"], job["OutputBucketName"]) == ("es-ES", "flac", BUCKET)
    assert app.uploaded == [CLIP.flac]
    assert list_bucket_keys(app) == []
    assert aws._transcribe.list_transcription_jobs()["TranscriptionJobSummaries"] == []


def test_a_custom_model_is_sent_to_the_service(app: FakeAmazonTranscribe, credentials: str) -> None:
    with open_aws(app.url, "aulas") as opened:
        opened.recognise(CLIP, 5.0)
    assert app.jobs[0]["ModelSettings"] == {"LanguageModelName": "aulas"}


def test_silence_is_an_empty_text(aws: Aws, app: FakeAmazonTranscribe) -> None:
    app.text = json.dumps(build_aws_transcript("", [])).encode()
    assert aws.recognise(CLIP, 5.0) == ("", ())


@pytest.mark.parametrize(
    ("operation", "status", "code", "kind", "billed"),
    [
        ("PUT", 503, "SlowDown", "busy", False),
        ("PUT", 403, "AccessDenied", "setup", False),
        ("PUT", 404, "NoSuchBucket", "setup", False),
        ("StartTranscriptionJob", 400, "LimitExceededException", "busy", False),
        ("StartTranscriptionJob", 400, "UnrecognizedClientException", "setup", False),
        ("StartTranscriptionJob", 400, "BadRequestException", "clip", False),
        ("StartTranscriptionJob", 500, "InternalFailureException", "busy", False),
        ("GetText", 500, "InternalError", "busy", True),
    ],
)
def test_an_error_has_its_kind_and_leaves_nothing_in_the_bucket(
    aws: Aws, app: FakeAmazonTranscribe, operation: str, status: int, code: str, kind: str, billed: bool
) -> None:
    app.faults[operation] = [(status, code)]
    fault = catch_aws_error(aws)
    assert (fault.kind, fault.may_be_billed) == (kind, billed)
    assert code in fault.reason
    assert KEY not in fault.reason
    assert fault.retry_after_s == (3 if kind == "busy" else None)
    assert list_bucket_keys(app) == []


def test_waiting_for_a_job_continues_while_the_service_is_busy(aws: Aws, app: FakeAmazonTranscribe) -> None:
    app.faults["GetTranscriptionJob"] = [(400, "ThrottlingException"), (500, "InternalFailureException")]
    assert aws.recognise(CLIP, 5.0)[0] == "Vamos a casa."
    assert len(app.jobs) == 1


def test_a_job_that_does_not_end_is_given_up_in_time_and_counts_as_paid(aws: Aws, app: FakeAmazonTranscribe) -> None:
    app.never_ends = True
    began_s = time.monotonic()
    fault = catch_aws_error(aws, timeout_s=0.3)
    assert time.monotonic() - began_s < 2
    assert (fault.kind, fault.may_be_billed) == ("busy", True)
    assert list_bucket_keys(app) == []


@pytest.mark.parametrize("text", [b"", b"<html>", b"[]", b'{"results": {}}', b'{"results": {"transcripts": [{}]}}'])
def test_an_undocumented_text_is_malformed(aws: Aws, app: FakeAmazonTranscribe, text: bytes) -> None:
    app.text = text
    fault = catch_aws_error(aws)
    assert (fault.kind, fault.may_be_billed) == ("malformed", True)
    assert list_bucket_keys(app) == []


def test_an_unreachable_server_bills_nothing(credentials: str) -> None:
    with open_aws("http://127.0.0.1:9") as opened:
        fault = catch_aws_error(opened)
    assert (fault.kind, fault.may_be_billed) == ("busy", False)
