"""Trainings as jobs of a Ray cluster, through dagster-ray: submit, watch, stop, and explain how a job ended.

One job trains a version at a time: the job of a lost run, which nobody watches, is stopped before the next one starts.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import aiohttp
import dagster as dg
from dagster_pipes import PIPES_PROTOCOL_VERSION_FIELD
from dagster_ray import PipesRayJobClient, PipesRayJobMessageReader

from habla_ml.defs.pipe_messages import MessageHandover
from habla_ml.errors import TrainingError, TrainingInterruptedError, TrainingKilledError
from habla_ml.settings import Settings
from habla_ml.settings.models import RaySettings
from habla_ml.training.exit_codes import EXIT_ENVIRONMENT, EXIT_KILLED
from habla_ml.training.launch.ray_job import LAKE_KEY, VERSION_KEY, RayJob, build_job

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

Answer = TypeVar("Answer")
_POLL_S: Final = 1.0
_REQUEST_S: Final = 30.0
_STOP_S: Final = 120.0
_FINAL_LINES_S: Final = 10.0
"""Time for the last lines of a job that has ended."""
_RESUMES: Final = "the next run resumes at the last checkpoint"


def run_training_job(
    settings: Settings, words: list[str], context: dg.AssetExecutionContext, observe: Callable[[Any], None]
) -> dg.PipesClientCompletedInvocation:
    """Train on the cluster with the options `words` of the training program; `observe` gets its custom messages.

    Raises:
        TrainingInterruptedError: The cluster does not answer, it lost the job, or its environment ended the training.
        TrainingKilledError: Processes of the training were killed too often.
        TrainingError: The job was stopped in Ray.
    """
    launch, job = settings.training.launch.ray, build_job(settings, words)
    client = RayTrainingClient(launch, observe)
    version = job.metadata[VERSION_KEY]
    submission_id = f"{version}-{context.run.run_id[:8]}-{secrets.token_hex(3)}"
    try:
        stop_earlier_jobs(client.client, job, context.log.warning)
        return client.run(
            context=context,
            submit_job_params={
                "entrypoint": job.entrypoint,
                "runtime_env": job.runtime_env,
                "metadata": job.metadata,
                "submission_id": submission_id,
            },
        )
    except OSError as error:
        raise _describe_lost_cluster(launch, error) from error
    except RuntimeError as error:
        try:
            details = client.client.get_job_info(submission_id)
        except (OSError, RuntimeError):
            raise error from None
        raise explain_end(details) from error


def stop_earlier_jobs(client: JobSubmissionClient, job: RayJob, report: Callable[[str], None]) -> None:
    """Stop the cluster's unfinished jobs of the same version and lake, and wait until they have ended.

    Raises:
        TrainingInterruptedError: One did not end in time.
    """
    keys = (LAKE_KEY, VERSION_KEY)
    deadline = time.monotonic() + _STOP_S
    for each in client.list_jobs():
        labels = each.metadata or {}
        if each.status.is_terminal() or any(labels.get(key) != job.metadata[key] for key in keys):
            continue
        report(f"stopping Ray job {each.submission_id} of {job.metadata[VERSION_KEY]}, which no run watches any more")
        client.stop_job(each.submission_id)
        while not (status := client.get_job_status(each.submission_id)).is_terminal():
            if time.monotonic() > deadline:
                raise TrainingInterruptedError(
                    f"Ray job {each.submission_id} is {status} {_STOP_S:g} s after a request to stop; {_describe_stop(status)}, "
                    f"then launch again; {_RESUMES}"
                )
            time.sleep(_POLL_S)


def _describe_stop(status: JobStatus) -> str:
    """Return the next step for a job that does not stop; Ray never stops one that is PENDING (its issue 58353)."""
    return "start the head again, or add what it waits for" if status == "PENDING" else "stop it with ray job stop"


def explain_end(job: JobDetails) -> Exception:
    """Return the error of a job that did not succeed."""
    name, code = f"Ray job {job.submission_id}", job.driver_exit_code
    if job.status == "STOPPED":
        return TrainingError(f"{name} was stopped in Ray, not by Dagster; launch the version again to resume it")
    if code == EXIT_KILLED:
        return TrainingKilledError(
            f"{name} ended because processes of the training were killed, probably because their machines have too little "
            f"memory; reserve more in training.launch.ray.resources_per_process, or lower the batch size; {_RESUMES}"
        )
    if code is None or code < 0 or code == EXIT_ENVIRONMENT:
        ended = "lost its program" if code is None or code < 0 else "ended for a fault of its environment"
        return TrainingInterruptedError(
            f"{name} {ended}; its log and the cluster's dashboard name the cause; {_RESUMES}"
        )
    return RuntimeError(f"{name} ended with exit code {code}; the output of this step has its error")


class RayTrainingClient(PipesRayJobClient):
    """dagster-ray's client for one job, which survives short outages of the Jobs API."""

    def __init__(self, settings: RaySettings, observe: Callable[[Any], None]) -> None:
        super().__init__(address=settings.address, message_reader=WholeLineJobLogReader(observe), poll_interval=_POLL_S)
        self._settings = settings

    @cached_property
    def client(self) -> JobSubmissionClient:
        """The client of the Jobs API; its first use connects."""
        from ray.job_submission import JobSubmissionClient

        settings, threads = self._settings, ThreadPoolExecutor(1, "ray_jobs")

        class PatientClient(JobSubmissionClient):  # type: ignore[misc]
            def _do_request(self, method: str, endpoint: str, **options: Any) -> Any:
                return super()._do_request(method, endpoint, **{"timeout": _REQUEST_S, **options})

            def get_job_status(self, job_id: str) -> JobStatus:
                asked: Callable[[str], JobStatus] = super().get_job_status
                return ask_patiently(lambda: ask_in_thread(threads, partial(asked, job_id)), settings)

        return PatientClient(settings.address)


def ask_in_thread(threads: Executor, ask: Callable[[], Answer]) -> Answer:
    """Return the answer to a request that another thread sends.

    A signal that ends a run raises in the main thread. Python drops what is raised while a connection is closed by its
    finalizer, and the run would go on.
    """
    return threads.submit(ask).result()


def ask_patiently(ask: Callable[[], JobStatus], settings: RaySettings, pause_s: float = _POLL_S) -> JobStatus:
    """Return the answer of the Jobs API, asked again during an outage.

    Raises:
        TrainingInterruptedError: The outage is longer than `lost_after_s`, or the cluster does not know the job: its head
            was started again.
    """
    started = time.monotonic()
    while True:
        try:
            return ask()
        except (OSError, RuntimeError) as error:
            is_unknown = "does not exist" in str(error)
            if is_unknown or time.monotonic() - started >= settings.lost_after_s:
                raise _describe_lost_cluster(settings, error) from error
        time.sleep(pause_s)


def _describe_lost_cluster(settings: RaySettings, error: Exception) -> TrainingInterruptedError:
    reason = str(error).partition("\n")[0][:200]
    return TrainingInterruptedError(
        f"the Ray cluster {settings.address} does not answer or lost the job ({type(error).__name__}: {reason}); start it, or "
        f"correct training.launch.ray.address; {_RESUMES}"
    )


class WholeLineJobLogReader(PipesRayJobMessageReader):
    """Reads messages from the log of a job; a line counts once it has its end.

    The Jobs API cuts the log at any character, and dagster-ray loses a message that is cut, and all messages after a
    broken connection. `observe` is that of a `MessageHandover`.
    """

    def __init__(self, observe: Callable[[Any], None]) -> None:
        super().__init__()
        self._observe = observe

    def handle_job_logs(self, handler: Any) -> None:
        """Hand each message of the job to `handler`, and print the other lines."""
        try:
            while self._job_id is None and not self.session_closed.is_set():
                time.sleep(0.1)
            self.thread_ready.set()
            if self._job_id is not None:
                asyncio.run(self._follow(handler))
        except Exception:
            handler.report_pipes_framework_exception(f"{type(self).__name__} reader thread", sys.exc_info())
            raise
        finally:
            self.completed.set()

    async def _follow(self, handler: Any) -> None:
        handover = MessageHandover(handler, self._observe)
        lines = follow_lines(lambda: self.client.tail_job_logs(self.job_id), self.session_closed.is_set)
        async for line in lines:
            message = _parse_message(line)
            if message is None:
                print(line, flush=True)
            else:
                handover.take(message)
        handover.finish()


def _parse_message(line: str) -> dict[str, Any] | None:
    try:
        message = json.loads(line)
    except ValueError:
        return None
    return message if isinstance(message, dict) and PIPES_PROTOCOL_VERSION_FIELD in message else None


async def follow_lines(
    open_log: Callable[[], AsyncIterator[str]],
    is_over: Callable[[], bool],
    pause_s: float = _POLL_S,
    final_lines_s: float = _FINAL_LINES_S,
) -> AsyncIterator[str]:
    """Yield each whole line of a growing log once, until the log ends.

    Args:
        open_log: Yields the log from its start, in pieces that end anywhere; fails when the connection breaks.
        is_over: Returns whether the job is over, so that the log ends soon.
        pause_s: Time between two attempts to open the log again.
        final_lines_s: Time to wait for the log's end after the job is over.
    """
    n_yielded = 0
    over_since: float | None = None
    while True:
        n_lines, part, log = 0, "", open_log()
        piece = asyncio.ensure_future(anext(log))
        while True:
            await asyncio.wait({piece}, timeout=pause_s)
            over_since = time.monotonic() if over_since is None and is_over() else over_since
            if not piece.done():
                if over_since is not None and time.monotonic() - over_since > final_lines_s:
                    piece.cancel()
                    return
                continue
            try:
                part += piece.result()
            except StopAsyncIteration:
                return
            except (aiohttp.ClientError, OSError, RuntimeError):
                break
            *lines, part = part.split("\n")
            for line in lines:
                n_lines += 1
                if n_lines > n_yielded:
                    n_yielded = n_lines
                    yield line
            piece = asyncio.ensure_future(anext(log))
        if over_since is not None:
            return
        await asyncio.sleep(pause_s)
