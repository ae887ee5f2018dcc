"""A small hub: a real HTTP server that speaks the part of the Hub's protocol that its Python client uses here."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

from habla_ml_tests.testing.hub_storage import LFS_ENDINGS, HubRefusalError, StubRepository, describe_file

HUB_TOKEN: Final = "hf_ASecretThatNoLogMayHave"  # noqa: S105 (of the tests' own server)
_PAGE_FILES: Final = 4
_LICENCES: Final = {"mit", "apache-2.0", "cc-by-4.0", "other"}


class StubHub:
    """The hub's state and what it was asked for."""

    def __init__(self) -> None:
        self.repositories: dict[str, StubRepository] = {}
        """By name; a dataset's begins with `datasets/`."""
        self.is_down = False
        self.requests: list[tuple[str, str]] = []
        self.on_request: Callable[[str, str], None] = lambda method, path: None
        """Called before a request is answered; may raise `HubRefusalError`."""
        self.url = ""
        self.lock = threading.RLock()

    def calls(self, method: str, part: str) -> int:
        """Return how many requests had this method and a path with `part`."""
        return sum(each == method and part in path for each, path in self.requests)

    def answer(self, method: str, path: str, query: Mapping[str, list[str]], body: bytes) -> Any:
        """Return JSON, or bytes with headers for a file."""
        for expected, pattern, handle in _ROUTES:
            if method == expected and (found := re.fullmatch(pattern, path)):
                parts = {name: unquote(value) for name, value in found.groupdict().items() if value is not None}
                if parts.pop("kind", "models") == "datasets":
                    parts["name"] = f"datasets/{parts['name']}"
                return handle(self, body, query, **parts)
        raise HubRefusalError(404, f"no route {method} {path}")

    def repository(self, name: str) -> StubRepository:
        """Return a repository."""
        if name not in self.repositories:
            raise HubRefusalError(404, "Repository not found", "RepoNotFound")
        return self.repositories[name]


def _create(hub: StubHub, body: bytes, query: object) -> Any:
    wanted = json.loads(body)
    name = f"{wanted['organization']}/{wanted['name']}"
    if wanted.get("type") == "dataset":
        name = f"datasets/{name}"
    if name in hub.repositories:
        message = "You already created this repo"
        raise HubRefusalError(409, message, error=message, url=f"{hub.url}/{name}")
    hub.repositories[name] = StubRepository(wanted.get("visibility") == "private")
    return {"url": f"{hub.url}/{name}"}


def _info(hub: StubHub, body: bytes, query: object, name: str, revision: str = "main") -> Any:
    found = hub.repository(name)
    commit = found.find(revision)
    siblings = [{"rfilename": path} for path in found.files(commit)]
    return {
        "id": found.new_name or name.removeprefix("datasets/"),
        "private": found.private,
        "sha": commit,
        "siblings": siblings,
        "tags": [],
    }


def _validate(hub: StubHub, body: bytes, query: object) -> Any:
    found = re.match(r"---\n(.*?)\n---\n", json.loads(body)["content"], re.DOTALL)
    header = yaml.safe_load(found[1]) if found else None
    faults = []
    if not isinstance(header, dict):
        faults.append("no YAML header")
    else:
        if header.get("license") not in _LICENCES:
            faults.append('"license" must be one of the known ones')
        if header.get("license") == "other" and not header.get("license_name"):
            faults.append('"license_name" is required')
        if "base_model" in header and not re.fullmatch(r"[\w.-]+/[\w.-]+", str(header["base_model"])):
            faults.append('"base_model" must be a model id')
        for each in header.get("model-index", []):
            if not each.get("name") or not all({"task", "dataset", "metrics"} <= row.keys() for row in each["results"]):
                faults.append('"model-index" is incomplete')
    if faults:
        raise HubRefusalError(400, "invalid metadata", errors=[{"message": each} for each in faults], warnings=[])
    return {"errors": [], "warnings": []}


def _preupload(hub: StubHub, body: bytes, query: object, name: str, revision: str) -> Any:
    present = hub.repository(name).files(revision)
    files = []
    for each in json.loads(body)["files"]:
        is_large, data = each["path"].endswith(LFS_ENDINGS), present.get(each["path"])
        oid = None if data is None else describe_file(each["path"], data)["oid" if not is_large else "sha256"]
        mode = "lfs" if is_large else "regular"
        files.append({"path": each["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
    return {"files": files}


def _batch(hub: StubHub, body: bytes, query: object, name: str) -> Any:
    objects, stored = [], hub.repository(name).large_files
    for each in json.loads(body)["objects"]:
        oid = each["oid"]
        upload = {"href": f"{hub.url}/lfs/{name}/{oid}", "header": {}}
        actions = {"upload": upload, "verify": {"href": f"{hub.url}/lfs/{name}/{oid}/verify", "header": {}}}
        objects.append(each if oid in stored else {**each, "actions": actions})
    return {"transfer": "basic", "objects": objects}


def _put_large(hub: StubHub, body: bytes, query: object, name: str, oid: str) -> Any:
    if hashlib.sha256(body).hexdigest() != oid:
        raise HubRefusalError(400, "wrong checksum")
    hub.repository(name).large_files[oid] = body
    return {}


def _verify_large(hub: StubHub, body: bytes, query: object, name: str, oid: str) -> Any:
    if oid not in hub.repository(name).large_files:
        raise HubRefusalError(404, "no such object")
    return {}


def _commit(hub: StubHub, body: bytes, query: object, name: str, revision: str) -> Any:
    found = hub.repository(name)
    if revision not in found.branches:
        raise HubRefusalError(404, "Invalid rev id", "RevisionNotFound")
    lines = [json.loads(line) for line in body.splitlines()]
    header, head = lines[0]["value"], found.branches[revision]
    if header.get("parentCommit", head) != head:
        raise HubRefusalError(412, "A commit has happened since. Please refresh and try again.")
    files = dict(found.files(head))
    for line in lines[1:]:
        value = line["value"]
        if line["key"] == "file":
            files[value["path"]] = base64.b64decode(value["content"])
        elif line["key"] == "lfsFile":
            if value["oid"] not in found.large_files:
                raise HubRefusalError(400, "LFS object was not uploaded")
            files[value["path"]] = found.large_files[value["oid"]]
        elif files.pop(value["path"], None) is None:
            raise HubRefusalError(404, "A file with this name doesn't exist", "EntryNotFound")
    oid = found.add(revision, files, header["summary"])
    return {"commitUrl": f"{hub.url}/{name}/commit/{oid}", "commitOid": oid, "hookOutput": "", "success": True}


def _create_branch(hub: StubHub, body: bytes, query: object, name: str, branch: str) -> Any:
    found = hub.repository(name)
    if branch in found.branches:
        raise HubRefusalError(409, f"Reference already exists: {branch}")
    found.branches[branch] = found.find(json.loads(body or b"{}").get("startingPoint", "main"))
    return {}


def _create_tag(hub: StubHub, body: bytes, query: object, name: str, revision: str) -> Any:
    found, tag = hub.repository(name), json.loads(body)["tag"]
    if tag in found.tags:
        raise HubRefusalError(409, f"Tag reference exists already: {tag}")
    found.tags[tag] = found.find(revision)
    return {}


def _delete_tag(hub: StubHub, body: bytes, query: object, name: str, tag: str) -> Any:
    if hub.repository(name).tags.pop(tag, None) is None:
        raise HubRefusalError(404, "Tag not found", "RevisionNotFound")
    return {}


def _squash(hub: StubHub, body: bytes, query: object, name: str, branch: str) -> Any:
    found = hub.repository(name)
    if branch not in found.branches:
        raise HubRefusalError(404, "Invalid rev id", "RevisionNotFound")
    found.squash(branch, json.loads(body)["message"])
    return {}


def _commits(hub: StubHub, body: bytes, query: object, name: str, revision: str) -> Any:
    found = hub.repository(name)
    date = "2026-11-29T10:00:00.000Z"
    return [
        {"id": oid, "authors": [{"user": "school"}], "date": date, "title": found.commits[oid].summary, "message": ""}
        for oid in found.list_history(revision)
    ]


def _list_large(hub: StubHub, body: bytes, query: Mapping[str, list[str]], name: str) -> Any:
    found = hub.repository(name)
    listed = sorted(found.large_files.keys() - found.unlisted)
    start = int(query.get("cursor", ["0"])[0])
    page = [
        {
            "oid": f"{oid[:24]}",
            "fileOid": oid,
            "filename": "data/file",
            "pushedAt": "2026-11-29T10:00:00.000Z",
            "ref": "main",
            "size": len(found.large_files[oid]),
        }
        for oid in listed[start : start + _PAGE_FILES]
    ]
    following = start + _PAGE_FILES
    url = f"{hub.url}{_get_api_path(name)}/lfs-files?cursor={following}"
    return page, {"Link": f'<{url}>; rel="next"'} if following < len(listed) else {}


def _delete_large(hub: StubHub, body: bytes, query: object, name: str) -> Any:
    wanted = json.loads(body)["deletions"]
    if not wanted["rewriteHistory"]:
        raise HubRefusalError(400, "this hub only deletes with the history")
    hub.repository(name).delete_large_files(wanted["sha"])
    return {}


def _refs(hub: StubHub, body: bytes, query: Mapping[str, list[str]], name: str) -> Any:
    found = hub.repository(name)
    places = {
        "branches": ("refs/heads/", found.branches),
        "tags": ("refs/tags/", found.tags),
        "converts": ("refs/convert/", found.converts),
        **({"pullRequests": ("refs/pr/", found.pulls)} if "include_prs" in query else {}),
    }
    return {
        kind: [{"name": each, "ref": f"{where}{each}", "targetCommit": commit} for each, commit in refs.items()]
        for kind, (where, refs) in places.items()
    }


def _tree(hub: StubHub, body: bytes, query: Mapping[str, list[str]], name: str, revision: str) -> Any:
    files = sorted(hub.repository(name).files(revision).items())
    start = int(query.get("cursor", ["0"])[0])
    page = []
    for path, data in files[start : start + _PAGE_FILES]:
        described = describe_file(path, data)
        sha256 = described.pop("sha256")
        if path.endswith(LFS_ENDINGS):
            described["lfs"] = {"oid": sha256, "size": len(data), "pointerSize": 134}
        page.append(described)
    following = start + _PAGE_FILES
    url = f"{hub.url}{_get_api_path(name)}/tree/{revision}?recursive=True&cursor={following}"
    return page, {"Link": f'<{url}>; rel="next"'} if following < len(files) else {}


def _resolve(hub: StubHub, body: bytes, query: object, name: str, revision: str, path: str) -> Any:
    found = hub.repository(name)
    commit = found.find(revision)
    data = found.files(commit).get(path)
    if data is None:
        raise HubRefusalError(404, "Entry not found", "EntryNotFound")
    described = describe_file(path, data)
    etag = described["sha256" if path.endswith(LFS_ENDINGS) else "oid"]
    return data, {"ETag": f'"{etag}"', "X-Repo-Commit": commit}


def _get_api_path(name: str) -> str:
    return f"/api/{name}" if name.startswith("datasets/") else f"/api/models/{name}"


_REPOSITORY: Final = r"(?P<name>[^/]+/[^/]+)"
_API: Final = rf"/api/(?P<kind>models|datasets)/{_REPOSITORY}"
_PLAIN: Final = rf"/(?:(?P<kind>datasets)/)?{_REPOSITORY}"
_LARGE: Final = rf"/lfs{_PLAIN}/(?P<oid>[0-9a-f]{{64}})"
_ROUTES: Final[tuple[tuple[str, str, Callable[..., Any]], ...]] = (
    ("POST", "/api/repos/create", _create),
    ("POST", "/api/validate-yaml", _validate),
    ("GET", _API, _info),
    ("GET", rf"{_API}/revision/(?P<revision>[^/]+)", _info),
    ("POST", rf"{_API}/preupload/(?P<revision>[^/]+)", _preupload),
    ("POST", rf"{_PLAIN}\.git/info/lfs/objects/batch", _batch),
    ("PUT", _LARGE, _put_large),
    ("POST", rf"{_LARGE}/verify", _verify_large),
    ("POST", rf"{_API}/commit/(?P<revision>[^/]+)", _commit),
    ("POST", rf"{_API}/branch/(?P<branch>[^/]+)", _create_branch),
    ("POST", rf"{_API}/tag/(?P<revision>[^/]+)", _create_tag),
    ("DELETE", rf"{_API}/tag/(?P<tag>[^/]+)", _delete_tag),
    ("POST", rf"{_API}/super-squash/(?P<branch>[^/]+)", _squash),
    ("GET", rf"{_API}/commits/(?P<revision>[^/]+)", _commits),
    ("GET", rf"{_API}/lfs-files", _list_large),
    ("POST", rf"{_API}/lfs-files/batch", _delete_large),
    ("GET", rf"{_API}/refs", _refs),
    ("GET", rf"{_API}/tree/(?P<revision>[^/]+)", _tree),
    ("HEAD", rf"{_PLAIN}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", _resolve),
    ("GET", rf"{_PLAIN}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", _resolve),
)


class HubRequestHandler(BaseHTTPRequestHandler):
    """Answers requests for `hub`."""

    hub: StubHub
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body in one packet, or each answer waits for an acknowledgement

    def answer(self) -> None:
        hub, address = self.hub, urlsplit(self.path)
        body = self.read_body()
        try:
            with hub.lock:
                hub.requests.append((self.command, address.path))
                hub.on_request(self.command, address.path)
                if hub.is_down:
                    raise HubRefusalError(503, "Service unavailable")
                is_upload = self.command == "PUT"  # its address is signed
                if not is_upload and self.headers.get("Authorization") != f"Bearer {HUB_TOKEN}":
                    # As a careless server does, it repeats what it got.
                    repeated = f"Invalid credentials: {self.headers.get('Authorization')}"
                    raise HubRefusalError(401, "Invalid credentials", error=repeated)
                found = hub.answer(self.command, address.path, parse_qs(address.query), body)
        except HubRefusalError as refusal:
            code = {} if refusal.code is None else {"X-Error-Code": refusal.code}
            text = json.dumps(refusal.content)
            self.reply(refusal.status, text.encode(), {"X-Error-Message": refusal.message, **code})
            return
        value, headers = found if isinstance(found, tuple) else (found, {})
        self.reply(200, value if isinstance(value, bytes) else json.dumps(value).encode(), headers)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer  # noqa: N815 (names of the library)

    def read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        data = b""
        while size := int(self.rfile.readline(), 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def reply(self, status: int, data: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


class HubHttpServer(ThreadingHTTPServer):
    """Ends with the process of the tests."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that are killed."""


@contextmanager
def serve_hub() -> Iterator[StubHub]:
    """Serve a hub on this machine."""
    hub = StubHub()
    server = HubHttpServer(("127.0.0.1", 0), type("BoundHandler", (HubRequestHandler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
