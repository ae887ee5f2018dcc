"""Label Studio: a page where people listen and correct. Segments are pushed to it, what was said is pulled."""

from habla_ml.annotation.label_studio.client import LabelStudio
from habla_ml.annotation.label_studio.configured_server import connect, delete_tasks, has_server, push_queue
from habla_ml.annotation.label_studio.project import (
    AudioFolder,
    Project,
    find_project,
    open_audio_folder,
    open_project,
)
from habla_ml.annotation.label_studio.pull import (
    LABEL_STUDIO,
    PullReport,
    list_pulled_days,
    load_pull_state,
    pull_events,
)
from habla_ml.annotation.label_studio.push import PushReport, push_segments
from habla_ml.annotation.label_studio.reconcile import Reconciliation, reconcile
from habla_ml.annotation.label_studio.server import (
    RunningServer,
    ServerConfig,
    install_server,
    resolve_server_config,
    resolve_server_token,
    run_server,
)

__all__ = [
    "LABEL_STUDIO",
    "AudioFolder",
    "LabelStudio",
    "Project",
    "PullReport",
    "PushReport",
    "Reconciliation",
    "RunningServer",
    "ServerConfig",
    "connect",
    "delete_tasks",
    "find_project",
    "has_server",
    "install_server",
    "list_pulled_days",
    "load_pull_state",
    "open_audio_folder",
    "open_project",
    "pull_events",
    "push_queue",
    "push_segments",
    "reconcile",
    "resolve_server_config",
    "resolve_server_token",
    "run_server",
]
