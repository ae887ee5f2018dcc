"""The project in Label Studio: its Spanish labelling configuration and its audio."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from habla_ml.annotation.sources.label_studio.client import LabelStudio
from habla_ml.errors import LakeError, ServiceError, SettingsError
from habla_ml.lake import compute_digest
from habla_ml.lake.directory import DirectoryStore
from habla_ml.lake.factory import open_store
from habla_ml.lake.store import Store
from habla_ml.settings import Settings

LABEL_CONFIG: Final = """
<View>
  <Header value="Escucha y escribe exactamente lo que se dice" size="4"/>
  <Header value="$why" size="5"/>
  <Audio name="audio" value="$audio" zoom="true" hotkey="ctrl+enter"/>
  <Header value="Transcripción" size="5"/>
  <TextArea name="transcription" toName="audio" value="$hint" rows="3" editable="true" maxSubmissions="1"
            placeholder="Corrige el texto o escríbelo entero"/>
  <Header value="¿No sirve? Marca por qué" size="5"/>
  <Choices name="unusable" toName="audio" choice="multiple" showInline="true">
    <Choice value="No se entiende" alias="unintelligible"/>
    <Choice value="No habla nadie" alias="no_speech"/>
    <Choice value="Hablan varios a la vez" alias="overlapping"/>
    <Choice value="Otro idioma" alias="other_language"/>
    <Choice value="Cortado" alias="cut_off"/>
    <Choice value="Privado, no usar" alias="private"/>
  </Choices>
  <Header value="Quién habla" size="5"/>
  <Choices name="role" toName="audio" choice="single" showInline="true">
    <Choice value="Profesor o profesora" alias="teacher"/>
    <Choice value="Alumno o alumna" alias="pupil"/>
    <Choice value="Otra persona" alias="other"/>
  </Choices>
  <Header value="Notas" size="5"/>
  <TextArea name="notes" toName="audio" rows="1" editable="true" maxSubmissions="1"
            placeholder="Lo que convenga saber (no entra en el texto)"/>
  <Text name="context" value="$context"/>
</View>
"""

_DESCRIPTION: Final = "Segmentos de clase que conviene escuchar, los más útiles primero. Lo llena habla_ml."
AUDIO_FOLDER_NAME: Final = "habla_ml-audio"
"""Folder of the audio in the store that the server reads."""


@dataclass(frozen=True)
class Project:
    """One project on one server."""

    id: int
    url: str
    title: str
    key: str
    """Identifies the project in the lake; a new server or a new database gives another key."""

    @property
    def page(self) -> str:
        """Address of the page where people annotate."""
        return f"{self.url}/projects/{self.id}/data"


@dataclass(frozen=True)
class AudioFolder:
    """The store that the server plays audio from."""

    store: Store
    prefix: str
    """Address prefix of a key, as tasks have it."""
    kind: str
    """Kind of the source storage: `localfiles` or `s3`."""
    registration: Mapping[str, Any]
    """Request body that registers it with the server."""

    def key_of(self, day: str, segment_id: str) -> str:
        """Return the key of a segment's audio."""
        return f"{AUDIO_FOLDER_NAME}/{day}/{segment_id}.flac"


def find_project(server: LabelStudio, title: str) -> Project | None:
    """Return the oldest project with that title, or None; raise `ServiceError` if no such project has our fields."""
    found = server.find_projects(title)
    if not found:
        return None
    fitting = [each for each in found if _has_required_fields(each.label_config)]
    if not fitting:
        raise ServiceError(
            f"project {title!r} on {server.url} has no text area `transcription` and choices `unusable`; set "
            "annotation.label_studio.title to a new name to create a project"
        )
    first = fitting[0]
    key = compute_digest([server.url, first.id, first.created_at.isoformat()])[:16]
    return Project(first.id, server.url, title, key)


def open_project(server: LabelStudio, title: str, audio_folder: AudioFolder) -> Project:
    """Return the project with the audio folder as its source storage; create what is missing."""
    project = find_project(server, title)
    if project is None:
        server.create_project(title, _DESCRIPTION, LABEL_CONFIG)
        project = find_project(server, title)
    if project is None:
        raise ServiceError(f"{server.url} created project {title!r} but does not list it; use a token that can read it")
    wanted = audio_folder.registration
    known = server.list_source_storages(audio_folder.kind, project.id)
    if not any(
        (each.path, each.bucket, each.prefix) == tuple(wanted.get(key) for key in ("path", "bucket", "prefix"))
        for each in known
    ):
        server.add_source_storage(audio_folder.kind, {**wanted, "project": project.id})
    return project


def open_audio_folder(settings: Settings, documents: Path) -> AudioFolder:
    """Return the audio folder: in the bucket of a lake on S3, else below the server's documents.

    The server signs the addresses of objects in S3 with its own credentials; ours are not passed on. Raises
    `SettingsError` if the folder cannot be created, or `LakeError` if the bucket cannot be written.
    """
    url = urlsplit(settings.lake.url)
    if url.scheme == "s3":
        store = open_store(settings.lake)
        # The server refuses an empty prefix.
        store.put_if_absent(f"{AUDIO_FOLDER_NAME}/about.txt", b"Audio for Label Studio, copied from the lake.\n")
        folder = "/".join(part for part in (url.path.strip("/"), AUDIO_FOLDER_NAME) if part)
        registration = {
            "title": AUDIO_FOLDER_NAME,
            "bucket": url.netloc,
            "prefix": folder,
            "region_name": settings.lake.region,
            "s3_endpoint": settings.lake.endpoint_url,
            "use_blob_urls": True,
            "presign": True,
            "presign_ttl": 60,
        }
        return AudioFolder(store, f"{settings.lake.url.rstrip('/')}/", "s3", registration)
    folder = str(documents.resolve() / AUDIO_FOLDER_NAME)
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        local = DirectoryStore(documents.resolve())
    except (OSError, LakeError) as error:
        raise SettingsError(f"annotation.label_studio.documents: {documents} cannot be written: {error}") from error
    registration = {"title": AUDIO_FOLDER_NAME, "path": folder, "use_blob_urls": True}
    return AudioFolder(local, "/data/local-files/?d=", "localfiles", registration)


def _has_required_fields(label_config: str) -> bool:
    return all(f'name="{name}"' in label_config for name in ("transcription", "unusable"))
