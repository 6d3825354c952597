"""A small model hub on loopback: the part of the protocol that huggingface_hub 1 and 2 use.

/api/models/ID[/revision/REV]?blobs=True, and /ID/resolve/REV/FILE with HEAD, GET, Range, ETag,
X-Repo-Commit, X-Linked-Size and X-Linked-ETag. Faults are set as attributes of Hub.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "a1" * 20
LFS_BYTES = 10_000  # files from this size on are listed as LFS, with a SHA-256


@dataclass
class Model:
    """One repository: its files and how it answers."""

    files: dict[str, bytes]
    commit: str = COMMIT
    revisions: tuple[str, ...] = ("main", "v1")
    gated: bool = False
    private: bool = False


@dataclass
class Hub:
    """The server's state; `asked` holds (method, path, Range header) of every request."""

    models: dict[str, Model] = field(default_factory=dict)
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    token: str = "hf_good"
    cut: Callable[[str], int | None] = lambda file: None  # bytes after which a transfer breaks off
    forged: dict[str, str] = field(default_factory=dict)  # file -> SHA-256 listed instead
    status: int | None = None  # answer everything with this
    url: str = ""
    _server: ThreadingHTTPServer | None = None

    def add(self, repo: str, source: Path | dict[str, bytes], **options: Any) -> Model:
        """Publish a folder, or files given as bytes."""
        files = (
            source
            if isinstance(source, dict)
            else {path.name: path.read_bytes() for path in source.iterdir() if path.is_file()}
        )
        self.models[repo] = Model(dict(files), **options)
        return self.models[repo]

    def start(self) -> Hub:
        """Listen on a free loopback port."""
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def stop(self) -> None:
        """Close the port; later connections are refused."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def ranges(self, file: str) -> list[str | None]:
        """The Range headers of the GETs of a file, in order."""
        return [r for method, path, r in self.asked if method == "GET" and path.endswith(file)]


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append((self.command, path, self.headers.get("Range")))
        if self.hub.status:
            return self._error(self.hub.status, "")
        if path.startswith("/api/models/"):
            repo, _, revision = path.removeprefix("/api/models/").partition("/revision/")
            return self._info(repo, revision or "main")
        repo, _, rest = path.lstrip("/").partition("/resolve/")
        revision, _, file = rest.partition("/")
        return self._file(repo, revision, file)

    def _model(self, repo: str, revision: str) -> Model | None:
        model = self.hub.models.get(repo)
        given = self.headers.get("Authorization")
        if given not in (None, f"Bearer {self.hub.token}"):
            self.send_response(401)
            self.send_header("X-Error-Message", "Invalid credentials in Authorization header")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif model is None or (model.private and given is None):
            self._error(404 if given else 401, "RepoNotFound")
        elif revision not in (*model.revisions, model.commit):
            self._error(404, "RevisionNotFound")
        else:
            return model
        return None

    def _info(self, repo: str, revision: str) -> None:
        model = self._model(repo, revision)
        if model is None:
            return
        siblings = []
        for name, data in model.files.items():
            entry: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": _git(data)}
            if len(data) >= LFS_BYTES or name.endswith(".safetensors"):
                digest = self.hub.forged.get(name, hashlib.sha256(data).hexdigest())
                entry["lfs"] = {"sha256": digest, "size": len(data), "pointerSize": 134}
            siblings.append(entry)
        body = json.dumps(
            {
                "_id": "0",
                "id": repo,
                "modelId": repo,
                "sha": model.commit,
                "private": model.private,
                "gated": "auto" if model.gated else False,
                "tags": [],
                "downloads": 0,
                "siblings": siblings,
            }
        ).encode()
        self._send(200, body, {"Content-Type": "application/json"})

    def _file(self, repo: str, revision: str, file: str) -> None:
        model = self._model(repo, revision)
        if model is None:
            return
        if model.gated and self.headers.get("Authorization") is None:
            return self._error(401, "GatedRepo")
        if model.gated:
            return self._error(403, "GatedRepo")
        if file not in model.files:
            return self._error(404, "EntryNotFound")
        data = model.files[file]
        start = int((self.headers.get("Range") or "bytes=0-")[6:].split("-")[0])
        headers = {
            "X-Repo-Commit": model.commit,
            "ETag": f'"{_git(data)}"',
            "Accept-Ranges": "bytes",
            "X-Linked-Size": str(len(data)),
            "X-Linked-ETag": f'"{hashlib.sha256(data).hexdigest()}"',
            "Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}",
        }
        if not start:
            del headers["Content-Range"]
        self._send(206 if start else 200, data[start:], headers, self.hub.cut(file))

    def _send(
        self, status: int, body: bytes, headers: dict[str, str], cut: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:cut])
            self.wfile.flush()
        if cut is not None:
            self.close_connection = True

    def _error(self, status: int, code: str) -> None:
        self._send(status, b"", {"X-Error-Code": code} if code else {})


def _git(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
