"""A model hub on loopback, speaking as much of the real one's protocol as huggingface_hub 2.4 uses to read.

`HubServer` is two real HTTP servers: the hub, and a content network on another port that large files are redirected to.
Repositories are put in as files; every request is logged; faults are set per path.
"""

import hashlib
import json
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

_LARGE = (".safetensors", ".bin")


@dataclass(frozen=True)
class Request:
    """One request as it came, and what went back."""

    server: str  # "hub" or "cdn"
    method: str
    path: str  # without query; on the content network the file's own path
    range: str | None
    token: str | None
    status: int
    sent: int  # bytes of body


@dataclass
class Fault:
    """What a server does wrong with a path. A count of times, or for ever when it is None."""

    times: int | None = None
    status: int | None = None  # answers this instead
    cut_after: int | None = None  # breaks the connection after so many bytes of the body
    hang_after: int | None = None  # sends no more after so many bytes, until `HubServer.release`
    body: bytes | None = None  # sends these bytes instead
    raw: bytes | None = None  # sends these bytes instead of status, headers and body
    no_ranges: bool = False
    drip: str = ""  # sends its "headers" or "body" a byte every 50 ms, until `HubServer.release`
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Repository:
    """The commits of a model, and what points at them."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    gated: bool = False
    private: bool = False
    readers: set[str] = field(default_factory=set)  # tokens that may read it


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class HubServer:
    """The hub: `endpoint` is what HF_ENDPOINT should be, `log` what was asked of it."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.tokens: set[str] = set()
        self.log: list[Request] = []
        self.faults: dict[str, Fault] = {}
        self.release = threading.Event()
        self._lock = threading.Lock()
        self._servers = {name: self._serve(name) for name in ("hub", "cdn")}
        self.endpoint = self.address("hub")

    def add(self, name: str, files: Mapping[str, bytes], refs: tuple[str, ...] = ("main",), **options: Any) -> str:
        """Commit files to a model, and let the refs point there; returns the commit."""
        repository = self.repositories.setdefault(name, Repository(**options))
        commit = hashlib.sha1(repr(sorted((path, sha256(body)) for path, body in files.items())).encode()).hexdigest()
        repository.commits[commit] = dict(files)
        repository.refs.update(dict.fromkeys(refs, commit))
        return commit

    def asked(self, server: str, method: str = "GET") -> list[str]:
        """The paths asked for, in order."""
        return [request.path for request in self.log if (request.server, request.method) == (server, method)]

    def requests(self, ending: str) -> list[Request]:
        """What went over the content network for a file."""
        return [request for request in self.log if request.server == "cdn" and request.path.endswith(ending)]

    def close(self) -> None:
        self.release.set()
        for server in self._servers.values():
            server.shutdown()
            server.server_close()

    def _serve(self, name: str) -> ThreadingHTTPServer:
        handler = type(f"{name}_handler", (_Handler,), {"hub": self, "server_name": name})
        server = _Server(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return server

    def address(self, name: str) -> str:
        """Of the hub or the content network, "hub" or "cdn"."""
        return f"http://127.0.0.1:{self._servers[name].server_port}"

    def fault(self, path: str) -> Fault | None:
        """The fault set for a path, counted down."""
        with self._lock:
            fault = self.faults.get(path)
            if fault is None or fault.times == 0:
                return None
            if fault.times is not None:
                fault.times -= 1
            return fault

    def answer(self, method: str, path: str, query: dict[str, list[str]], token: str | None) -> "Answer":
        """The hub's answer."""
        if token is not None and token not in self.tokens:
            return Answer.error(401, "", "Invalid credentials in Authorization header")
        api = path.startswith("/api/models/")
        parts = path.removeprefix("/api/models/").removeprefix("/").split("/")
        name, rest = "/".join(parts[:2]), parts[2:]
        repository = self.repositories.get(name)
        hidden = repository is not None and repository.private and token not in repository.readers
        if repository is None or hidden:
            return Answer.error(401 if token is None else 404, "RepoNotFound", "Repository not found")
        revision = unquote(rest[1]) if len(rest) > 1 else "main"
        commit = repository.refs.get(revision, revision)
        if commit not in repository.commits:
            return Answer.error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        files = repository.commits[commit]
        if api and (not rest or rest[0] == "revision"):
            return Answer.of_json(self._model(name, commit, files, "blobs" in query))
        if api and rest[0] == "tree":
            return Answer.of_json(_tree(files, unquote("/".join(rest[2:])), query.get("recursive") == ["true"]))
        if repository.gated and token not in repository.readers:
            message = f"Access to model {name} is restricted."
            return Answer.error(401 if token is None else 403, "GatedRepo", message)
        wanted = unquote("/".join(rest[2:]))
        if wanted not in files:
            return Answer.error(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": commit})
        return self._resolve(name, commit, wanted, files[wanted])

    def _model(self, name: str, commit: str, files: Mapping[str, bytes], blobs: bool) -> dict[str, Any]:
        siblings = [
            {"rfilename": path} | ({"size": len(body), "blobId": git_sha1(body), **_lfs(path, body)} if blobs else {})
            for path, body in sorted(files.items())
        ]
        return {"id": name, "modelId": name, "sha": commit, "private": False, "siblings": siblings}

    def _resolve(self, name: str, commit: str, path: str, body: bytes) -> "Answer":
        headers = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if not path.endswith(_LARGE):
            return Answer(200, body, headers | {"ETag": f'"{git_sha1(body)}"'})
        location = f"{self.address('cdn')}/{sha256(body)}/{name}/{path}?Signature=of-the-network"
        linked = {"X-Linked-Etag": f'"{sha256(body)}"', "X-Linked-Size": str(len(body)), "Location": location}
        return Answer(302, b"", headers | linked | {"ETag": f'"{sha256(body)}"'})

    def content(self, path: str) -> bytes | None:
        """What the content network has under a path."""
        digest, owner, model, rest = (path.removeprefix("/").split("/", 3) + [""] * 3)[:4]
        commits = self.repositories.get(f"{owner}/{model}", Repository()).commits.values()
        return next((files[rest] for files in commits if sha256(files.get(rest, b"")) == digest), None)


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    headers: Mapping[str, str]

    @classmethod
    def of_json(cls, value: Any) -> "Answer":
        return cls(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    @classmethod
    def error(cls, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> "Answer":
        named = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        return cls(status, json.dumps({"error": message}).encode(), {**named, **(headers or {})})


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # clients are killed here, and that is no news
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body go out as two writes
    hub: HubServer
    server_name: str

    def do_HEAD(self) -> None:
        self._handle()

    def do_GET(self) -> None:
        self._handle()

    def log_message(self, *_: Any) -> None:
        pass

    def _handle(self) -> None:
        url = urlsplit(self.path)
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        if self.server_name == "cdn":
            path = unquote(url.path).removeprefix("/").split("/", 3)[-1]
            fault = self.hub.fault(path)
            body = self.hub.content(unquote(url.path))
            answer = Answer(200, body, {}) if body is not None else Answer.error(404, "", "no such blob")
        else:
            path = unquote(url.path)
            fault = self.hub.fault(path)
            answer = self.hub.answer(self.command, url.path, parse_qs(url.query), token)
        if fault is not None and fault.raw is not None:
            self.hub.log.append(Request(self.server_name, self.command, path, None, token, 0, len(fault.raw)))
            self.close_connection = True
            self.wfile.write(fault.raw)
            return
        if fault is not None and fault.status is not None:
            answer = Answer(fault.status, json.dumps({"error": f"fault; you sent {token}"}).encode(), fault.headers)
        elif fault is not None and fault.body is not None:
            answer = Answer(answer.status, fault.body, {**answer.headers, **fault.headers})
        self._reply(path, token, answer, fault or Fault())

    def _reply(self, path: str, token: str | None, answer: Answer, fault: Fault) -> None:
        body, status, headers = answer.body, answer.status, dict(answer.headers)
        wanted = self.headers.get("Range")
        if wanted is not None and status == 200 and not fault.no_ranges:
            start = int(wanted.removeprefix("bytes=").partition("-")[0])
            if start >= len(body):
                body, status = b"", 416
                headers["Content-Range"] = f"bytes */{len(answer.body)}"
            else:
                status = 206
                headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
                body = body[start:]
        sending = b"" if self.command == "HEAD" else body
        stop = min((n for n in (fault.cut_after, fault.hang_after) if n is not None), default=len(sending))
        request = Request(self.server_name, self.command, path, wanted, token, status, len(sending[:stop]))
        self.hub.log.append(request)
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        if fault.drip:
            self.flush_headers()
            self._drip(b"X-Long: " if fault.drip == "headers" else b"\r\n")
            return
        self.end_headers()
        try:
            self.wfile.write(sending[:stop])
            self.wfile.flush()
        except OSError:  # the client went away
            self.close_connection = True
            return
        if stop < len(sending):
            if fault.hang_after is not None:
                self.hub.release.wait()
            self.close_connection = True

    def _drip(self, start: bytes) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.wfile.write(start)
            while not self.hub.release.wait(0.05):
                self.wfile.write(b"x")


def _lfs(path: str, body: bytes) -> dict[str, Any]:
    return {"lfs": {"sha256": sha256(body), "size": len(body), "pointerSize": 134}} if path.endswith(_LARGE) else {}


def _tree(files: Mapping[str, bytes], folder: str, recursive: bool) -> list[dict[str, Any]]:
    entries: dict[str, dict[str, Any]] = {}
    for path, body in sorted(files.items()):
        if folder and not path.startswith(f"{folder}/"):
            continue
        inner = path.removeprefix(f"{folder}/") if folder else path
        if "/" in inner and not recursive:
            top = path[: len(path) - len(inner)] + inner.partition("/")[0]
            entries[top] = {"type": "directory", "path": top, "size": 0, "oid": git_sha1(top.encode())}
            continue
        lfs = {"lfs": {"oid": sha256(body), "size": len(body), "pointerSize": 134}} if path.endswith(_LARGE) else {}
        entries[path] = {"type": "file", "path": path, "size": len(body), "oid": git_sha1(body), **lfs}
    return list(entries.values())


@contextmanager
def hub_server() -> Iterator[HubServer]:
    """A hub for the length of a test."""
    server = HubServer()
    try:
        yield server
    finally:
        server.close()
