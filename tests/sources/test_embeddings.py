"""Embeddings from a repository and from a file: the one file, and nothing else, is fetched."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import constants
from safetensors.torch import save

from sdbuild.errors import SourceError
from sdbuild.plan import plan
from sdbuild.recipe import load_recipe
from tests.execute import run, with_paths
from tests.sources.hub_server import HubServer, sha256

NAME = "someone/style"
VECTOR = torch.ones(1, 128)
TENSORS = save({"<style>": VECTOR})
BESIDE = {"README.md": b"# style", "concept_images/1.safetensors": b"", "token_identifier.txt": b"<style>"}


def pickled() -> bytes:
    content = io.BytesIO()
    torch.save({"<style>": VECTOR}, content)
    return content.getvalue()


def config(folder: Path, embedding: dict[str, Any], **model: Any) -> Path:
    """Run the stage of a recipe with one embedding."""
    recipe = {
        "name": "mine",
        "pipeline": "sd1",
        "model": {"source": "builtin:shapes", "embeddings": [{"token": "zq", **embedding}], **model},
        "target": {"os": "macOS14"},
        "resolution": "64x64",
    }
    (folder / "mine.yaml").write_text(yaml.safe_dump(recipe))
    node = plan(load_recipe(folder / "mine.yaml").recipes).tasks["config"]
    made = run(with_paths(node, {}), folder / "made")
    assert list((folder / "made" / "scratch").iterdir()) == []
    return made


def about(made: Path) -> dict[str, Any]:
    (found,) = json.loads((made / "embeddings.json").read_text())
    source: dict[str, Any] = found["source"]
    return source


@pytest.mark.parametrize("file", [None, "learned_embeds.safetensors", "old/learned_embeds.bin"])
def test_the_one_file_of_a_repository_is_fetched(
    file: str | None, hub: HubServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    files = BESIDE | {
        "learned_embeds.safetensors": TENSORS,
        "learned_embeds.bin": pickled(),
        "old/learned_embeds.bin": pickled(),
    }
    commit = hub.add(NAME, files)
    monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
    source = f"{NAME}/{file}" if file else NAME
    made = config(tmp_path, {"source": source, "revision": commit}, allow_pickle=True)
    wanted = file or "learned_embeds.safetensors"
    assert hub.asked("cdn") == [wanted]
    assert about(made) == {"hub": NAME, "commit": commit, "file": wanted, "sha256": sha256(files[wanted])}


@pytest.mark.parametrize(
    ("file", "files", "message"),
    [
        (
            None,
            {"a.pt": b"a", "b.pt": b"b"},
            "someone/style: a.pt, b.pt may all be embeddings; name one: someone/style/a.pt",
        ),
        (None, {}, "someone/style: no embedding in it: there is no file called .safetensors or .pt or .bin"),
        ("b.pt", {"a.pt": b"a"}, "someone/style: there is no b.pt; it has a.pt"),
        (
            "a.bin",
            {"a.bin": pickled()},
            "someone/style/a.bin: a pickle, and loading a pickle can run code that its author",
        ),
        ("a.bin", {"a.bin": b"<html>"}, "someone/style/a.bin "),
    ],
)
def test_repositories_without_it(
    file: str | None,
    files: dict[str, bytes],
    message: str,
    hub: HubServer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    commit = hub.add(NAME, {"README.md": b"", **files})
    monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
    with pytest.raises(SourceError) as refused:
        config(tmp_path, {"source": f"{NAME}/{file}" if file else NAME, "revision": commit})
    assert str(refused.value).startswith(message)


def test_of_a_file_on_this_machine_its_content_is_said_alone(tmp_path: Path) -> None:
    (tmp_path / "my style.safetensors").write_bytes(TENSORS)
    made = config(tmp_path, {"source": "./my style.safetensors"})
    assert about(made) == {"local": sha256(TENSORS)}
    assert "my style" not in "".join(path.read_text() for path in made.rglob("*.json"))


def test_what_is_wrong_with_a_file_is_said_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "style.pt").write_bytes(pickled())
    with pytest.raises(SourceError, match=r"^\./style.pt: a pickle, and loading a pickle can run code"):
        config(tmp_path, {"source": "./style.pt"})


def test_a_file_at_an_address(hub: HubServer, tmp_path: Path) -> None:
    hub.add(NAME, {"deep/style.safetensors": TENSORS})
    address = f"{hub.address('cdn')}/{sha256(TENSORS)}/{NAME}/deep/style.safetensors"
    made = config(tmp_path, {"source": address, "sha256": sha256(TENSORS)})
    assert about(made) == {"web": address, "file": "style.safetensors", "sha256": sha256(TENSORS)}
    with pytest.raises(SourceError, match="nothing of it was kept"):
        config(tmp_path, {"source": address, "sha256": "0" * 64})
