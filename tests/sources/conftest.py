"""Nothing of the user's own hub reaches these tests: no token, no proxy, no setting."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import close_session, constants

from sdbuild.sources.client import HubClient
from tests.sources.hub_server import HubServer, hub_server

FOREIGN = ("HF_", "HUGGING", "TRANSFORMERS_")


@pytest.fixture(autouse=True)
def _own_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in list(os.environ):
        if name.upper().startswith(FOREIGN) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    home = tmp_path / "hf-home"
    monkeypatch.setenv("HF_HOME", str(home))  # for processes that a test starts
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))  # for this one, which has read it long ago
    monkeypatch.setattr(constants, "HF_STORED_TOKENS_PATH", str(home / "stored_tokens"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    close_session()
    yield
    close_session()


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with hub_server() as server:
        yield server


@pytest.fixture
def client(hub: HubServer) -> HubClient:
    """A client that does not wait long."""
    return HubClient(hub.endpoint, waits=(0.01, 0.01))


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


@pytest.fixture
def output(tmp_path: Path) -> Path:
    folder = tmp_path / "output"
    folder.mkdir()
    return folder
