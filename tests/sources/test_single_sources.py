"""Single files of the hub and at addresses: that file alone is downloaded, resumed and verified; odd ones are refused."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from sdbuild.errors import SourceError
from sdbuild.recipe import RecipeError, load_recipe
from sdbuild.sources.client import HubClient
from sdbuild.sources.file import FileSource
from sdbuild.sources.hub_file import HubFileSource
from sdbuild.sources.web import WebSource
from sdbuild.stages.config import tensors_of
from tests.single_files import drawn, shapes_model, small
from tests.sources.hub_server import Fault, HubServer

ROOT = Path(__file__).parents[2]
NAME, PATH = "org/models", "merged/shapes.safetensors"


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return shapes_model(tmp_path_factory.mktemp("file") / "shapes.safetensors").read_bytes()


def address(hub: HubServer, content: bytes) -> str:
    """Of the file on the server that the hub redirects to, which is as good as any."""
    return f"{hub.address('cdn')}/{hashlib.sha256(content).hexdigest()}/{NAME}/{PATH}"


def fill(hub: HubServer, content: bytes) -> str:
    return hub.add(NAME, {PATH: content, "other.safetensors": b"x" * 1000, "README.md": b"---\nlicense: mit\n---\n"})


def web(hub: HubServer, content: bytes, sha256: str | None = None) -> WebSource:
    client = HubClient(hub.address("cdn"), waits=(0.01, 0.01))
    return WebSource(address(hub, content), sha256 or hashlib.sha256(content).hexdigest(), client)


@pytest.mark.parametrize("kind", ["hub_file", "web"])
def test_the_file_alone_is_fetched_and_resumed(
    kind: str, hub: HubServer, client: HubClient, content: bytes, output: Path, scratch: Path
) -> None:
    commit = fill(hub, content)
    source = HubFileSource(f"{NAME}/{PATH}", None, client) if kind == "hub_file" else web(hub, content)
    assert source.single is not None
    file = source.files[source.single]
    hub.faults[PATH] = Fault(times=1, cut_after=100_000)
    source.fetch(file, output, scratch, lambda done: None)
    assert (output / "shapes.safetensors").read_bytes() == content
    assert source.commit == (commit if kind == "hub_file" else None)
    assert not any("other.safetensors" in request.path for request in hub.log)
    assert [request.range for request in hub.log if request.path == PATH][-1] is not None  # from where it broke off


def test_what_is_wrong_with_a_file_of_the_hub_is_said(hub: HubServer, client: HubClient, content: bytes) -> None:
    fill(hub, content)
    source = HubFileSource(f"{NAME}/merged/shape.safetensors", None, client)
    with pytest.raises(
        SourceError, match=r"there is no merged/shape.safetensors at revision 'main'; there is merged/shapes"
    ):
        _ = source.files


def test_what_is_wrong_with_an_address_is_said(hub: HubServer, content: bytes, output: Path, scratch: Path) -> None:
    fill(hub, content)
    other = web(hub, content, "0" * 64)
    with pytest.raises(SourceError, match="with another checksum than the recipe's `sha256`; nothing of it was kept"):
        other.fetch(other.files["shapes.safetensors"], output, scratch, lambda done: None)
    assert not list(output.iterdir()) and not list(scratch.iterdir())
    missing = WebSource(f"{hub.address('cdn')}/nothing.safetensors", "0" * 64, HubClient(hub.address("cdn"), waits=()))
    with pytest.raises(SourceError, match=r"has no such file \(status 404\); look at the address"):
        _ = missing.files


def test_no_token_is_sent_to_an_address(hub: HubServer, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    place = address(hub, content)
    hub.faults[PATH] = Fault(status=401)
    with pytest.raises(SourceError, match="wants to know who asks"):
        _ = WebSource(place, "0" * 64).files
    assert [request.token for request in hub.log] == [None]


def test_a_file_of_the_hub_and_one_at_an_address_give_the_same_weights(
    hub: HubServer, content: bytes, tmp_path: Path
) -> None:
    commit = fill(hub, content)
    models = {
        "hub": {"source": f"{NAME}/{PATH}", "revision": commit},
        "web": {"source": address(hub, content), "sha256": hashlib.sha256(content).hexdigest().upper()},
    }
    records = []
    for name, model in models.items():
        recipe = {"name": name, "pipeline": "sd1", "model": model | {"config": "builtin:shapes"}}
        recipe |= {"components": ["text_encoder", "vae_decoder"], "target": {"os": "iOS17"}, "resolution": "64x64"}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
        store = tmp_path / f"store-{name}"
        done = subprocess.run(
            [sys.executable, "-m", "sdbuild", "download:text_encoder", f"config={name}.yaml"],
            env={**os.environ, "PYTHONPATH": str(ROOT), "SDBUILD_STORE": str(store), "HF_ENDPOINT": hub.endpoint},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        (made,) = store.glob("artifacts/download/*/text_encoder")
        assert (made / "shapes.safetensors").read_bytes() == content
        assert (made / "shapes.safetensors").samefile(made.parent / "vae" / "shapes.safetensors")
        (stamp,) = store.glob("artifacts/download/*.json")  # what is there under two names counts once
        assert len(content) < json.loads(stamp.read_text())["size"] < 1.5 * len(content)
        records.append([json.loads((made / name).read_text()) for name in ("names.json", "files.json")])
    assert records[0] == records[1]


def pickled(path: Path, **options: Any) -> bytes:
    state = {key: torch.from_numpy(value) for key, value in drawn(small("sd1")).items()}
    torch.save({"global_step": 3, "callbacks": {}, "state_dict": state}, path, **options)
    return path.read_bytes()


def test_a_pickle_of_the_hub_is_known_by_its_beginning(
    hub: HubServer, client: HubClient, tmp_path: Path, output: Path, scratch: Path
) -> None:
    whole = pickled(tmp_path / "x.ckpt")
    hub.add(NAME, {"x.ckpt": whole})
    source = HubFileSource(f"{NAME}/x.ckpt", None, client)
    found = tensors_of("x", source)
    assert found == tensors_of("x", FileSource(tmp_path / "x.ckpt", "x.ckpt")) and len(found) == len(small("sd1"))
    source.fetch(source.files["x.ckpt"], output, scratch, lambda done: None)
    assert (output / "x.ckpt").read_bytes() == whole


def test_odd_pickles_of_the_hub_are_refused(hub: HubServer, client: HubClient, tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": torch.zeros(1)}, "path": Path("x")}, tmp_path / "code.ckpt")
    commit = hub.add(
        NAME,
        {
            "old.ckpt": pickled(tmp_path / "old.ckpt", _use_new_zipfile_serialization=False),
            "half.ckpt": pickled(tmp_path / "half.ckpt")[:1000],
            "code.ckpt": (tmp_path / "code.ckpt").read_bytes(),
        },
    )
    for name, words in {
        "old": "does not begin as those of torch 1.6 and newer do",
        "half": "download it, and name that file",
        "code": "to load that could run code hidden in the file",
    }.items():
        with pytest.raises(SourceError, match=words) as failure:
            tensors_of(f"{name}.ckpt", HubFileSource(f"{NAME}/{name}.ckpt", commit, client))
        assert str(failure.value).startswith(f"{name}.ckpt: ")


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"source": "https://example.org/a.safetensors"}, "needs `sha256:`"),
        ({"source": "http://example.org/a.safetensors", "sha256": "0" * 64}, "is not of https"),
        ({"source": "https://example.org/a.safetensors?token=x", "sha256": "0" * 64}, "has a secret in it"),
        ({"source": "https://example.org/a.safetensors", "sha256": "00"}, "sha256"),
        (
            {"source": "https://huggingface.co/org/name/resolve/main/deep/a.safetensors"},
            "write {source: org/name/deep/a.safetensors, revision: main}",
        ),
        ({"source": "org/name", "sha256": "0" * 64}, "`sha256` is for a file at an address"),
        ({"source": "builtin:shapes", "prediction_type": "epsilon"}, "`prediction_type` is for a single file"),
        ({"source": "builtin:shapes", "ema": True}, "`ema` is for a single file"),
        ({"source": "org/name/a.safetensors", "variant": "fp16"}, "a single file has no variants"),
        ({"source": "./a.safetensors"}, "no file './a.safetensors'"),
        ({"source": "./x.gguf"}, "a file of quantized weights"),
        ({"source": "./x.safetensors", "config": "org/name/a.safetensors"}, "configurations are in a model's folder"),
        ({"source": "./x.safetensors", "revision": "main"}, "a single file has no revisions"),
        (
            {"source": "./built/"},
            "the folder './built/' has Core ML models (Unet.mlmodelc), which are what sdbuild makes",
        ),
        ({"source": "./x.yaml"}, "'./x.yaml' is a file: name the diffusers folder"),
    ],
)
def test_recipes_are_refused_before_anything_runs(model: dict[str, Any], words: str, tmp_path: Path) -> None:
    (tmp_path / "built" / "Unet.mlmodelc").mkdir(parents=True)
    (tmp_path / "x.gguf").touch()
    (tmp_path / "x.safetensors").touch()
    (tmp_path / "x.yaml").write_text(
        yaml.safe_dump({"name": "x", "pipeline": "sd1", "model": model, "target": {"os": "iOS17"}})
    )
    with pytest.raises(RecipeError) as failure:
        load_recipe(tmp_path / "x.yaml")
    assert words in str(failure.value)


def test_the_documents_snippets_are_recipes(tmp_path: Path) -> None:
    blocks = (ROOT / "docs" / "checkpoints.md").read_text(encoding="utf-8").split("```yaml\n")[1:]
    snippets = [yaml.safe_load(block.partition("```")[0]) for block in blocks]
    assert len(snippets) == 3
    (tmp_path / "portraits.safetensors").touch()
    whole = snippets[0]
    for snippet in snippets:
        (tmp_path / "x.yaml").write_text(yaml.safe_dump(whole | snippet))
        (recipe,) = load_recipe(tmp_path / "x.yaml").recipes
        assert recipe.model.source.single and recipe.model.source.pinned
