"""Label Studio: a page where people listen and correct. Segments are pushed to it, what was said is pulled."""

from habla_ml.annotation.label_studio.client import LabelStudio
from habla_ml.annotation.label_studio.deployed import connect, forget_tasks, has_server, push_queue
from habla_ml.annotation.label_studio.project import AudioShelf, Project, find_project, open_project, open_shelf
from habla_ml.annotation.label_studio.pull import LABEL_STUDIO, PullReport, load_pulled, pull_events, pulled_days
from habla_ml.annotation.label_studio.push import PushReport, push_segments
from habla_ml.annotation.label_studio.reconcile import Reconciliation, reconcile
from habla_ml.annotation.label_studio.server import (
    RunningServer,
    ServerPlace,
    install_server,
    running_server,
    server_place,
    server_token,
)

__all__ = [
    "LABEL_STUDIO",
    "AudioShelf",
    "LabelStudio",
    "Project",
    "PullReport",
    "PushReport",
    "Reconciliation",
    "RunningServer",
    "ServerPlace",
    "connect",
    "find_project",
    "forget_tasks",
    "has_server",
    "install_server",
    "load_pulled",
    "open_project",
    "open_shelf",
    "pull_events",
    "pulled_days",
    "push_queue",
    "push_segments",
    "reconcile",
    "running_server",
    "server_place",
    "server_token",
]
