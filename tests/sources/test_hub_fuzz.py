"""Whatever a hub lists and answers, the outcome is files that it vouched for or one line, and no more is written.

Real requests to the hub on loopback, with one to three faults in its listing, and now and then one in any of its answers.
"""

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sdbuild.errors import UserError, printable
from sdbuild.sources import client as client_module
from sdbuild.sources.client import HubClient
from sdbuild.sources.hub import HubSource
from tests.sources.hub_server import Fault, HubServer, git_sha1, sha256
from tests.sources.mutated import BYTES, ODD

NAME = "someone/small"
TOKEN = "hf_ThisIsNobodysToken"
FILES = {
    "model_index.json": b"{}",
    "unet/config.json": b'{"a": 1}',
    "unet/model.safetensors": bytes(range(256)) * 8,
    "vae/model.bin": b"",
}
PATHS = [
    *(
        "../x",
        "../../../../outside/x",
        "/tmp/x",
        "a/../../x",
        "unet/../x",
        ".",
        "..",
        "",
        "~/x",
        "a\0b",
        "a\n",
        "\x1b[2J",
    ),
    *("x" * 300, "unet/model.safetensors/x", "files.json", "é" * 120, "\u202ex", "-rf", "a\\..\\b", "con", "%2e%2e/x"),
]
DIGESTS = ["../x", "../../outside/x", "A" * 64, "a" * 40, "a" * 63, "a" * 64, "a" * 64 + "\n", "/dev/null", ""]
STATUSES = [200, 201, 204, 206, 301, 302, 304, 307, 400, 401, 403, 404, 408, 416, 429, 451, 500, 503, 599, 999]
HEADERS: dict[str, list[str]] = {
    "Retry-After": ["0", "-1", "1e9", "9" * 5000, "\xb2", "soon", "Wed, 21 Oct 2099 07:28:00 GMT", ""],
    "RateLimit": ['"api";r=0;t=5', f'"api";r=0;t={"9" * 5000}', '"api";r=-1;t=-1', "x"],
    "RateLimit-Policy": ['"fixed window";"api";q=500;w=300', f'"a";"api";q={"9" * 5000};w={"9" * 5000}'],
    "X-Error-Code": ["GatedRepo", "RepoNotFound", "RevisionNotFound", "EntryNotFound", "\x1b[31m", "x" * 3000, ""],
    "X-Error-Message": ["Access to this resource is disabled.", "\xff\xfe", "\x1b[2J", "x" * 3000],
    "Content-Encoding": ["gzip", "identity", "br, gzip", "x", ""],
    "Content-Type": ["text/html", "application/json; charset=nonsense", ""],
    "Content-Range": ["bytes 0-0/1", "bytes */0", "bytes 9-1/0", "x"],
    "Set-Cookie": ["a=b", "=", "\xff"],
}
LOCATIONS = [
    *(
        "",
        "/",
        "//",
        "http:",
        "http://",
        "http://[::1",
        "http://[",
        "http://:0/",
        "http://127.0.0.1:99999/",
        "//127.0.0.1:1/",
    ),
    *(
        "ftp://127.0.0.1/",
        "https://{cdn}/x",
        "file:///etc/hostname",
        "javascript:1",
        "http://\xff/",
        "http://xn--a/",
        "\x01",
    ),
    *(
        "http://{cdn}/x",
        "//{cdn}/a/b/c/d",
        "http://user:word@{cdn}/x",
        "http://localhost:{port}/x",
        "/api/models/..",
        "#",
    ),
    *(
        "http://" + "a" * 300 + "/",
        "http://127.0.0.1:1/" + "x" * 70000,
        "?" + "%zz" * 9,
        "http://a b/",
        "http://*/",
        "{hub}/",
    ),
]
RAW = [
    *(
        b"",
        b"\0" * 99,
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 200\r\n\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 99 x\r\n\r\n",
    ),
    *(
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"SSH-2.0-x\r\n",
    ),
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nffffffffffffffff\r\nabc",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, x\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\nA" + b"a" * 200_000 + b": b\r\n\r\n",
    b"HTTP/1.1 200 \xff\xfe\r\nX: \xff\r\n: y\r\nz\r\n\r\n",
    b"HTTP/1.1 101 Switching\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n" * 50,
    b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nabcde",
    b"HTTP/1.0 200 OK\r\n\r\n{}",
]


class OddHub(HubServer):
    """A hub with a faulty listing of its one model, which mistakes ``mistakes`` of its answers otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.chance = random.Random(0)
        self.mistakes = 0
        self.commit = self.add(NAME, FILES)
        self.listing: bytes | None = None

    def begin(self, seed: int) -> None:
        """A case of its own."""
        self.chance = random.Random(seed)
        self.listing = _listing(self.commit, self.chance) if self.chance.random() < 0.7 else None
        self.mistakes = self.chance.choice((0, 1, 1, 2)) if self.listing is None else self.chance.choice((0, 0, 1))
        self.repositories[NAME].gated = self.chance.random() < 0.3
        self.repositories[NAME].readers = self.chance.choice((set(), {TOKEN}))
        self.log.clear()

    def fault(self, path: str) -> Fault | None:
        if self.mistakes and self.chance.random() < 0.4:
            self.mistakes -= 1
            return self._mistake()
        listing = path.startswith("/api/") and self.listing is not None
        return Fault(body=self.listing) if listing else None

    def _mistake(self) -> Fault:
        chance = self.chance
        headers = {name: chance.choice(HEADERS[name]) for name in chance.sample(sorted(HEADERS), chance.randrange(3))}
        match chance.randrange(6):
            case 0:
                return Fault(raw=chance.choice(RAW))
            case 1:
                return Fault(body=chance.choice(BYTES), headers=headers)
            case 2:
                return Fault(cut_after=chance.randrange(9))
            case 3:
                return Fault(no_ranges=True, body=chance.choice((None, b"something else")), headers=headers)
            case 4:
                return Fault(
                    status=chance.choice((301, 302, 307, 308)), headers=headers | {"Location": self._location()}
                )
            case _:
                return Fault(status=chance.choice(STATUSES), headers=headers)

    def _location(self) -> str:
        cdn = self.address("cdn").removeprefix("http://")
        named = {"{cdn}": cdn, "{port}": cdn.partition(":")[2], "{hub}": self.endpoint}
        location = self.chance.choice(LOCATIONS)
        for name, value in named.items():
            location = location.replace(name, value)
        return location


def _listing(commit: str, chance: random.Random) -> bytes:
    """A listing with one to three faults."""
    siblings = [
        {"rfilename": path, "size": len(body), "blobId": git_sha1(body)}
        | ({} if path.endswith(".json") else {"lfs": {"sha256": sha256(body), "size": len(body), "pointerSize": 134}})
        for path, body in FILES.items()
    ]
    listing: dict[str, Any] = {"id": NAME, "sha": commit, "siblings": siblings}
    for _ in range(chance.choice((1, 1, 2, 3))):
        _spoil(listing, chance)
    text = json.dumps(listing).encode()
    if chance.random() < 0.2:
        at, to = sorted((chance.randint(0, len(text)), chance.randint(0, len(text))))
        text = text[:at] + chance.choice((*BYTES, text[at:to] * 2)) + text[chance.choice((at, to)) :]
    return text


def _spoil(listing: dict[str, Any], chance: random.Random) -> None:
    siblings = listing.get("siblings")
    sibling = chance.choice(siblings) if siblings and isinstance(siblings, list) else None
    if not isinstance(sibling, dict):
        return
    match chance.randrange(8):
        case 0:
            sibling["rfilename"] = chance.choice((*PATHS, chance.choice(ODD)))
        case 1:
            sibling["blobId"] = chance.choice((*DIGESTS, chance.choice(ODD)))
        case 2 if isinstance(sibling.get("lfs"), dict):
            sibling["lfs"][chance.choice(("sha256", "size"))] = chance.choice((*DIGESTS, chance.choice(ODD)))
        case 3:
            sibling["size"] = chance.choice((*ODD, 1, 9, -1, 1 << 60))
        case 4:
            sibling.pop(chance.choice(("rfilename", "size", "blobId", "lfs")), None)
        case 5:
            listing[chance.choice(("sha", "siblings", "id", "_x"))] = chance.choice((*ODD, *PATHS, *DIGESTS))
        case 6:
            listing["siblings"] = [*listing["siblings"], sibling]
        case _:
            sibling[chance.choice(("rfilename", "size", "blobId", "lfs", "_x"))] = chance.choice(
                (*ODD, *PATHS, *DIGESTS)
            )


@pytest.fixture
def odd_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[OddHub]:
    hub = OddHub()
    hub.tokens.add(TOKEN)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(client_module.time, "sleep", _sleep)
    try:
        yield hub
    finally:
        hub.close()


def _sleep(seconds: float) -> None:
    assert 0 <= seconds <= 300


def attempt(hub: OddHub, place: Path) -> str:
    """Look at all that the hub lists and fetch it; what it came to."""
    came = "nothing"
    with _two_folders(place) as (output, scratch):
        source = HubSource(NAME, None, HubClient(hub.endpoint, waits=(0.0, 0.0)))
        try:
            for path, file in list(source.files.items()):
                came = "listed" if came == "nothing" else came
                assert source.read_start(path, 100)[:100] is not None
                if path.endswith(".json"):
                    source.read(path)
                source.fetch(file, output, scratch, lambda done: None)
                with (output / file.name).open("rb") as content:
                    assert file.vouches_for(content)
                (output / file.name).unlink()
                came = "fetched"
        except UserError as error:
            text = printable(str(error))  # as it is shown
            assert text.isprintable() and len(text) < 2000 and TOKEN not in text
            came += ", refused"
        assert not any(output.iterdir())
    for request in hub.log:
        assert request.server == "hub" or request.token != TOKEN
    return came


@contextmanager
def _two_folders(place: Path) -> Iterator[tuple[Path, Path]]:
    """All that may be written is files in these; the second may keep some."""
    output, scratch = place / "in" / "output", place / "in" / "scratch"
    for folder in (output, scratch):
        folder.mkdir(parents=True)
    yield output, scratch
    for path in scratch.iterdir():
        path.unlink()
    for folder in (output, scratch, place / "in"):
        folder.rmdir()
    assert all(path.name == "hf-home" for path in place.iterdir())


def _try(hub: OddHub, place: Path, seeds: range) -> dict[str, int]:
    came: dict[str, int] = {}
    for seed in seeds:
        hub.begin(seed)
        try:
            what = attempt(hub, place)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
        came[what] = came.get(what, 0) + 1
    return came


def test_odd_answers(odd_hub: OddHub, tmp_path: Path) -> None:
    came = _try(odd_hub, tmp_path, range(500))
    assert min(came[what] for what in ("nothing, refused", "listed, refused", "fetched, refused", "fetched")) > 5


@pytest.mark.slow
@pytest.mark.parametrize("part", range(1, 21))
def test_many_odd_answers(part: int, odd_hub: OddHub, tmp_path: Path) -> None:
    _try(odd_hub, tmp_path, range(part * 1000, part * 1000 + 1000))
