"""A hub that means no good, or a proxy that makes it seem so: nothing it answers becomes a path, fills the memory or lasts."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from sdbuild.sources import SourceError
from sdbuild.sources.client import HubClient
from sdbuild.sources.hub import HubSource
from sdbuild.sources.listing import MOST_LISTED, ListingError, read_listing
from tests.sources.hub_server import Answer, Fault, HubServer, hub_server
from tests.sources.make_models import sd1
from tests.sources.test_hub_refusals import TOKEN, message_of

NAME = "someone/small"
FILES = sd1()
CONFIG = "unet/config.json"
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
LISTING = f"/api/models/{NAME}/revision/main"
COMMIT = "c" * 40
SMALL: dict[str, Any] = {"rfilename": CONFIG, "size": 3, "blobId": "a" * 40}
LARGE: dict[str, Any] = {"rfilename": WEIGHTS, "size": 3, "blobId": "a" * 40, "lfs": {"sha256": "b" * 64, "size": 3}}


def listing(*siblings: dict[str, Any], sha: Any = COMMIT) -> bytes:
    return json.dumps({"sha": sha, "siblings": siblings}).encode()


def test_what_the_hub_lists() -> None:
    commit, files = read_listing(listing(SMALL, LARGE))
    assert commit == COMMIT and list(files) == [CONFIG, WEIGHTS]
    assert (files[CONFIG].git_sha1, files[CONFIG].sha256) == ("a" * 40, None)
    assert (files[WEIGHTS].git_sha1, files[WEIGHTS].sha256) == (None, "b" * 64)


@pytest.mark.parametrize(
    "path",
    [
        *(
            "../x",
            "a/../../x",
            "/etc/x",
            "a//b",
            "a/",
            "",
            ".",
            "..",
            "./a",
            "a/./b",
            "a\0b",
            "a\nb",
            "\x1b[2Ja",
            "a\x7f",
        ),
        *("\x9b2J", "n" * 256, "ü" * 128, "d/" * 520 + "x", 7, None, ["a"]),
    ],
    ids=lambda path: repr(path)[:20],
)
def test_a_path_that_leads_elsewhere(path: Any) -> None:
    with pytest.raises(ListingError, match=r"^siblings\.1\.rfilename"):
        read_listing(listing(SMALL, LARGE | {"rfilename": path}))


@pytest.mark.parametrize(
    ("sibling", "where"),
    [
        (SMALL | {"blobId": "../../../../x"}, "siblings.0.blobId"),
        (SMALL | {"blobId": "a" * 39}, "siblings.0.blobId"),
        (SMALL | {"blobId": "a" * 40 + "\n"}, "siblings.0.blobId"),
        (SMALL | {"blobId": None}, "siblings.0"),
        (SMALL | {"size": -1}, "siblings.0.size"),
        (SMALL | {"size": "3"}, "siblings.0.size"),
        (SMALL | {"size": True}, "siblings.0.size"),
        (SMALL | {"size": 10**30}, "siblings.0.size"),
        (SMALL | {"size": 3.5}, "siblings.0.size"),
        (LARGE | {"lfs": {"sha256": "../x", "size": 3}}, "siblings.0.lfs.sha256"),
        (LARGE | {"lfs": {"sha256": "B" * 64, "size": 3}}, "siblings.0.lfs.sha256"),
        (LARGE | {"lfs": {"sha256": "b" * 64, "size": None}}, "siblings.0.lfs.size"),
        (LARGE | {"lfs": [1]}, "siblings.0.lfs"),
    ],
)
def test_a_digest_or_size_that_is_none(sibling: dict[str, Any], where: str) -> None:
    with pytest.raises(ListingError) as failure:
        read_listing(listing(sibling))
    assert str(failure.value) == where


@pytest.mark.parametrize("sha", ["../../x", "main", "c" * 41, 7, None])
def test_a_commit_that_is_none(sha: Any) -> None:
    with pytest.raises(ListingError, match=r"^sha$"):
        read_listing(listing(SMALL, sha=sha))


def test_a_file_that_is_listed_twice() -> None:
    with pytest.raises(ListingError, match=r"^siblings\.1\.rfilename$"):
        read_listing(listing(SMALL, SMALL | {"size": 4}))


def test_a_listing_that_would_write_elsewhere(hub: HubServer, client: HubClient, tmp_path: Path) -> None:
    hub.add(NAME, FILES)
    target = tmp_path / "elsewhere"
    for name in ("sha256", "blobId"):
        path = f"{'../' * 20}{target.relative_to('/')}"
        sibling = LARGE | ({"lfs": {"sha256": path, "size": 3}} if name == "sha256" else {"blobId": path, "lfs": None})
        hub.faults[LISTING] = Fault(body=listing(sibling))
        assert f"does not answer as the hub does (siblings.0.{'lfs.' * (name == 'sha256')}{name})" in message_of(client)
    assert not list(tmp_path.glob("elsewhere*"))


def test_a_listing_of_another_commit(hub: HubServer, client: HubClient) -> None:
    commit = hub.add(NAME, FILES)
    hub.faults[f"/api/models/{NAME}/revision/{commit}"] = Fault(body=listing(SMALL))
    assert f"HUB lists another commit than {commit}; check HF_ENDPOINT" in message_of(client, revision=commit)


def test_a_listing_without_end(hub: HubServer, client: HubClient) -> None:
    hub.add(NAME, FILES)
    hub.faults[LISTING] = Fault(body=b" " * (MOST_LISTED + 1))
    assert message_of(client).startswith(f"{NAME}: HUB-HOST answers with more than 32 MB where a few are enough; check")


@pytest.mark.parametrize("path", [LISTING, WEIGHTS])
def test_a_packed_body_that_nobody_asked_for(
    hub: HubServer, client: HubClient, output: Path, scratch: Path, path: str
) -> None:
    hub.add(NAME, FILES)
    hub.faults[path] = Fault(body=gzip.compress(bytes(1 << 20)), headers={"Content-Encoding": "gzip"})
    source = HubSource(NAME, None, client)
    with pytest.raises(SourceError, match="answers with a packed body, which was not asked for"):
        source.fetch(source.files[WEIGHTS], output, scratch, lambda done: None)
    assert list(output.iterdir()) == []


@pytest.mark.parametrize("body", [b"[]", b'{"errors": [1]}', b'{"error": ["\\u001b[2J"]}', b"\xff\xfe", b"9" * 5000])
def test_the_body_of_an_error_is_not_read(
    hub: HubServer, client: HubClient, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    hub.add(NAME, FILES)
    monkeypatch.setattr(hub, "answer", lambda *asked: Answer(404, body, {"Content-Encoding": "gzip"}))
    assert message_of(client).startswith(f"{NAME}: HUB-HOST has no such model, or it is private")


@pytest.mark.parametrize("location", ["", "/around", "ftp://somewhere/x"])
def test_redirects_to_nowhere(hub: HubServer, client: HubClient, location: str) -> None:
    hub.add(NAME, FILES)
    for path in (LISTING, "/around"):
        hub.faults[path] = Fault(status=302, headers={"Location": location} if location else {})
    text = message_of(client)
    assert ": HUB-HOST redirects to " in text and "; check HF_ENDPOINT and the proxy settings" in text


def test_a_redirect_to_where_nobody_listens(hub: HubServer, client: HubClient) -> None:
    hub.add(NAME, FILES)
    hub.faults[LISTING] = Fault(status=302, headers={"Location": "http://localhost:1/"})
    assert f"{NAME}: HUB-HOST redirects to localhost: localhost can't be reached (" in message_of(client)


@pytest.mark.parametrize(
    ("path", "drip"), [(LISTING, "headers"), (LISTING, "body"), (WEIGHTS, "headers"), (WEIGHTS, "body")]
)
def test_a_server_that_drips_is_given_up(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, output: Path, scratch: Path, path: str, drip: str
) -> None:
    hub.add(NAME, FILES)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
    source = HubSource(NAME, None, HubClient(hub.endpoint, waits=(0.01,) * 50, window=0.3))
    hub.faults[path] = Fault(drip=drip)
    with pytest.raises(SourceError, match=r"sent fewer than 1,000 bytes a second for 0 s, and was given up; check the"):
        source.fetch(source.files[WEIGHTS], output, scratch, lambda done: None)
    assert sum(request.path == path for request in hub.log) == 1


def test_a_mirror_that_redirects_to_a_gated_model(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, client: HubClient
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with hub_server() as home:
        home.add(NAME, FILES, gated=True, readers={TOKEN})
        home.tokens.add(TOKEN)
        hub.add(NAME, FILES)
        elsewhere = home.endpoint.replace("127.0.0.1", "localhost")
        path = f"/{NAME}/resolve/{hub.repositories[NAME].refs['main']}/{CONFIG}"
        hub.faults[path] = Fault(status=302, headers={"Location": f"{elsewhere}{path}"})
        assert message_of(client) == (
            f"{NAME}: HUB-HOST redirects to localhost, and the model is gated there (status 401); a token is sent to HUB-HOST "
            "alone, never on to others: if the model is at home on localhost, ask there (set HF_ENDPOINT to "
            "https://localhost), else build again later"
        )
        assert {request.token for request in (*hub.log, *home.log)} == {None}
