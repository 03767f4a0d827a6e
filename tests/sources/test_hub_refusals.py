"""What the hub, the network and tokens can do to a build: each ends in one line that says what to do."""

import logging
import socket
from pathlib import Path

import pytest
from huggingface_hub import constants

from sdbuild.sources import SourceError
from sdbuild.sources.client import HubClient
from sdbuild.sources.hub import HubSource
from tests.sources.hub_server import Fault, HubServer
from tests.sources.make_models import sd1

NAME = "someone/small"
FILES = sd1()
CONFIG = "unet/config.json"
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
TOKEN = "hf_ThisIsNobodysToken"


def message_of(client: HubClient, name: str = NAME, revision: str | None = None) -> str:
    """The one line that reading a config ends in."""
    with pytest.raises(SourceError) as failure:
        HubSource(name, revision, client).read(CONFIG)
    text = str(failure.value)
    assert "\n" not in text
    return text.replace(client.endpoint, "HUB").replace(client.endpoint.removeprefix("http://"), "HUB-HOST")


def test_no_such_model(hub: HubServer, client: HubClient) -> None:
    assert message_of(client, "someone/nothing") == (
        "someone/nothing: HUB-HOST has no such model, or it is private; check the name, and if it is private set HF_TOKEN, "
        "or run `hf auth login`"
    )


def test_no_such_model_for_this_token(hub: HubServer, client: HubClient, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.tokens.add(TOKEN)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert message_of(client, "someone/nothing") == (
        "someone/nothing: HUB-HOST has no such model, or your token may not read it; check the name, or ask its owner for "
        "access"
    )


def test_no_such_revision(hub: HubServer, client: HubClient) -> None:
    hub.add(NAME, FILES)
    assert message_of(client, revision="v9") == (
        f"{NAME}: there is no revision 'v9'; the branches, tags and commits are listed at HUB/{NAME}/commits"
    )


def test_no_such_file(hub: HubServer, client: HubClient) -> None:
    commit = hub.add(NAME, {"README.md": b""})
    assert message_of(client) == (
        f"{NAME}: there is no {CONFIG} at revision 'main'; a diffusers pipeline has one: look at HUB/{NAME}/tree/{commit}"
    )


def test_a_file_that_vanished_since_it_was_listed(hub: HubServer, client: HubClient) -> None:
    commit = hub.add(NAME, FILES)
    source = HubSource(NAME, commit, client)
    assert source.files[CONFIG].size == len(FILES[CONFIG])
    del hub.repositories[NAME].commits[commit][CONFIG]
    with pytest.raises(SourceError, match=rf"there is no {CONFIG} at revision '{commit}'; look at "):
        source.read(CONFIG)


def test_a_gated_model_without_a_token(hub: HubServer, client: HubClient) -> None:
    hub.add(NAME, FILES, gated=True)
    assert message_of(client) == (
        f"{NAME}: the model is gated; accept its terms at HUB/{NAME}, then set HF_TOKEN, or run `hf auth login`"
    )


def test_a_gated_model_with_a_token_that_has_no_access(
    hub: HubServer, client: HubClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add(NAME, FILES, gated=True)
    hub.tokens.add(TOKEN)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert message_of(client) == (
        f"{NAME}: the model is gated, and your token's account has no access yet; ask for it at HUB/{NAME}"
    )


def test_a_token_that_the_hub_does_not_know(hub: HubServer, client: HubClient, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add(NAME, FILES, gated=True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert message_of(client) == (
        f"{NAME}: HUB-HOST does not accept your token; make a new one at HUB/settings/tokens, then set HF_TOKEN, "
        "or run `hf auth login`"
    )


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (401, "HUB-HOST wants to know who you are; set HF_TOKEN, or run `hf auth login`"),
        (
            403,
            f"HUB-HOST lets only some accounts read the model; ask at HUB/{NAME}, then set HF_TOKEN, or run `hf auth login`",
        ),
        (429, "HUB-HOST has had too many requests from here; wait some minutes and build again"),
        (502, "HUB-HOST has trouble of its own (status 502); build again later: what has been fetched is kept"),
        (
            404,
            "HUB-HOST has no such model, or it is private; check the name, and if it is private set HF_TOKEN, or run "
            "`hf auth login`",
        ),
        (418, f"HUB-HOST refuses to tell about it (status 418); look at HUB/{NAME}"),
    ],
)
def test_other_refusals(hub: HubServer, client: HubClient, status: int, expected: str) -> None:
    hub.add(NAME, FILES)
    headers = {"X-Error-Message": "Invalid credentials in Authorization header"} if status == 401 else {}
    hub.faults[f"/api/models/{NAME}/revision/main"] = Fault(status=status, headers=headers)
    assert message_of(client) == f"{NAME}: {expected}"
    tries = 3 if status in (429, 502) else 1
    assert len(hub.log) == tries


def test_a_disabled_model(hub: HubServer, client: HubClient) -> None:
    hub.add(NAME, FILES)
    disabled = {"X-Error-Message": "Access to this resource is disabled."}
    hub.faults[f"/api/models/{NAME}/revision/main"] = Fault(status=403, headers=disabled)
    assert message_of(client) == f"{NAME}: the model has been disabled on HUB-HOST; name another source"


def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
        client = HubClient(endpoint)  # with the real waits: who is offline does not wait for them
        text = message_of(client)
    assert text.startswith(f"{NAME}: HUB-HOST can't be reached (")
    assert text.endswith(
        "; check network, proxy settings and HF_ENDPOINT, then build again: what has been fetched is kept"
    )


@pytest.mark.parametrize(
    "endpoint", ["hub.local", "ftp://hub", "http://", "http://[::1", "http://hub:x", "http://hub:99999"]
)
def test_an_endpoint_that_is_no_address(endpoint: str) -> None:
    with pytest.raises(SourceError) as failure:
        HubClient(endpoint)
    assert str(failure.value) == (
        f"HF_ENDPOINT is {endpoint}: write an address of http or https, such as https://huggingface.co"
    )


@pytest.mark.parametrize("host", ["a" * 64, "x..y", "\u0663"])
def test_an_endpoint_whose_host_has_no_name(host: str) -> None:
    with pytest.raises(SourceError, match=f"{NAME}: {host} is no name of a host; check HF_ENDPOINT"):
        HubSource(NAME, None, HubClient(f"http://{host}")).read(CONFIG)


def test_cookies_are_not_kept(hub: HubServer, client: HubClient) -> None:
    hub.add(NAME, FILES)
    hub.faults[f"/api/models/{NAME}/revision/main"] = Fault(body=b"{}", headers={"Set-Cookie": "a=\xff"}, times=1)
    assert "does not answer as the hub does" in message_of(client)
    assert HubSource(NAME, None, client).read(CONFIG) == FILES[CONFIG]


@pytest.mark.parametrize("value", ["\xff", "9" * 5000])
def test_headers_that_are_none(hub: HubServer, client: HubClient, value: str) -> None:
    hub.add(NAME, FILES)
    headers = {"X-Error-Message": value, "Retry-After": value, "RateLimit": f'"api";r=0;t={value}'}
    hub.faults[f"/api/models/{NAME}/revision/main"] = Fault(status=429, headers=headers)
    assert "has had too many requests from here" in message_of(client)


def test_the_network_vanishes_in_the_middle(hub: HubServer, client: HubClient, output: Path, scratch: Path) -> None:
    hub.add(NAME, FILES)
    source = HubSource(NAME, None, client)
    hub.faults[WEIGHTS] = Fault(cut_after=0)
    with pytest.raises(SourceError, match=r"the connection to 127.0.0.1:\d+ keeps breaking"):
        source.fetch(source.files[WEIGHTS], output, scratch, lambda done: None)
    assert len(hub.requests(WEIGHTS)) == 3


def test_nobody_answers(hub: HubServer, monkeypatch: pytest.MonkeyPatch, output: Path, scratch: Path) -> None:
    hub.add(NAME, FILES)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.1)
    source = HubSource(NAME, None, HubClient(hub.endpoint, waits=()))
    file = source.files[WEIGHTS]
    hub.faults[WEIGHTS] = Fault(hang_after=0)
    with pytest.raises(SourceError, match=r"127.0.0.1:\d+ does not answer; check the network"):
        source.fetch(file, output, scratch, lambda done: None)


def test_offline_mode(hub: HubServer, client: HubClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert message_of(client) == (
        f"{NAME}: HF_HUB_OFFLINE forbids asking HUB-HOST for it, and revision 'main' is not in "
        f"{constants.HF_HUB_CACHE}/models--someone--small; unset it, or name a local folder"
    )
    assert hub.log == []


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b"<html>Welcome to our hotel</html>", "no JSON object"),
        (b"[]", "no JSON object"),
        (b"[" * 100_000, "no JSON object"),
        (b"{}", "sha"),
        (b'{"sha": "1", "siblings": [{}]}', "sha"),
    ],
)
def test_something_else_answers(hub: HubServer, client: HubClient, body: bytes, where: str) -> None:
    hub.add(NAME, FILES)
    hub.faults[f"/api/models/{NAME}/revision/main"] = Fault(body=body)
    assert message_of(client) == (
        f"{NAME}: HUB does not answer as the hub does ({where}); check HF_ENDPOINT and the proxy settings"
    )


@pytest.mark.parametrize("login", ["environment", "file"])
def test_the_token_is_sent_when_demanded_and_only_to_the_hub(
    hub: HubServer, client: HubClient, monkeypatch: pytest.MonkeyPatch, output: Path, scratch: Path, login: str
) -> None:
    hub.add(NAME, FILES, gated=True, readers={TOKEN})
    hub.tokens.add(TOKEN)
    if login == "environment":
        monkeypatch.setenv("HF_TOKEN", TOKEN)
    else:
        Path(constants.HF_TOKEN_PATH).parent.mkdir()
        Path(constants.HF_TOKEN_PATH).write_text(f"{TOKEN}\n")
    source = HubSource(NAME, None, client)
    assert source.read(CONFIG) == FILES[CONFIG]
    source.fetch(source.files[WEIGHTS], output, scratch, lambda done: None)
    assert [(r.server, r.token, r.status) for r in hub.log] == [
        ("hub", None, 200),  # the listing is public
        ("hub", None, 401),
        ("hub", TOKEN, 200),
        ("hub", TOKEN, 302),
        ("cdn", None, 200),  # the redirect goes without it
    ]


def test_an_old_token_does_not_close_public_models(
    hub: HubServer, client: HubClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add(NAME, FILES)
    monkeypatch.setenv("HF_TOKEN", TOKEN)  # which the hub has never heard of
    assert HubSource(NAME, None, client).read(CONFIG) == FILES[CONFIG]
    assert {request.token for request in hub.log} == {None}


def test_the_users_wish_not_to_send_it_is_respected(
    hub: HubServer, client: HubClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add(NAME, FILES, gated=True, readers={TOKEN})
    hub.tokens.add(TOKEN)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
    assert "the model is gated; accept its terms" in message_of(client)
    assert {request.token for request in hub.log} == {None}


def test_the_token_is_in_no_log_or_file(
    hub: HubServer,
    client: HubClient,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    output: Path,
    scratch: Path,
) -> None:
    caplog.set_level(logging.DEBUG)
    hub.add(NAME, FILES, gated=True, readers={TOKEN})
    hub.tokens.add(TOKEN)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    source = HubSource(NAME, None, client)
    source.fetch(source.files[WEIGHTS], output, scratch, lambda done: None)
    assert f"{NAME}/resolve/" in caplog.text  # the HTTP library does log
    content = [path.read_bytes().decode("latin-1") for path in output.iterdir()]
    assert TOKEN not in "".join((source.commit, repr(source.files), caplog.text, *content))


@pytest.mark.parametrize("status", [400, 403, 404, 416, 500])
def test_a_server_that_repeats_the_token_is_not_quoted(
    hub: HubServer,
    client: HubClient,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    status: int,
) -> None:
    commit = hub.add(NAME, FILES, gated=True, readers={TOKEN})
    hub.tokens.add(TOKEN)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    source = HubSource(NAME, commit, client)
    source.read("model_index.json")
    # In the body, and in the headers that the hub's library takes notice of.
    echo = {"X-Error-Message": f"not with {TOKEN}", "X-Request-Id": TOKEN, "X-HF-Warning": f"{status}; {TOKEN}"}
    hub.faults[f"/{NAME}/resolve/{commit}/{CONFIG}"] = Fault(status=status, headers=echo)
    with pytest.raises(SourceError) as failure:
        source.read(CONFIG)
    assert hub.log[-1].token == TOKEN
    shown = capfd.readouterr()
    assert TOKEN not in f"{failure.value}{shown.out}{shown.err}{caplog.text}"


@pytest.mark.parametrize("token", ["hf_with blank", "hf_quoted\u201d", "hf_\x7f"])
def test_a_token_that_is_none_is_refused_without_telling_it(
    hub: HubServer, client: HubClient, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    hub.add(NAME, FILES, gated=True)
    monkeypatch.setenv("HF_TOKEN", token)
    text = message_of(client)
    assert text == "the hub's token holds a blank or a character that no token has: copy it into HF_TOKEN again"


def test_a_token_file_that_is_none(hub: HubServer, client: HubClient) -> None:
    hub.add(NAME, FILES, gated=True)
    Path(constants.HF_TOKEN_PATH).parent.mkdir()
    Path(constants.HF_TOKEN_PATH).write_bytes(b"\xff\xfeh\0f\0")
    assert message_of(client) == (
        "the hub's token can't be had (UnicodeDecodeError): set HF_TOKEN, or run `hf auth login`"
    )
