"""The manifest says what the models don't, holds for every copy of a bundle, and its digests can be repeated."""

import hashlib
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from sdbuild.bundle.assemble import assemble
from sdbuild.bundle.manifest import Description, make_manifest, write_manifest
from sdbuild.recipe import load_family
from sdbuild.wiring import Sizes
from tests.bundle.models import MERGES, VOCABULARY, Workshop, diffusion

DESCRIPTION = Description(
    pipeline="sd1",
    sources={"unet": {"builtin": "shapes"}},
    sizes=Sizes(height=64, width=128, batch=2, tokens=77, latent_channels=4, vae_factor=8, vae_scale=0.18215),
    attention="split_einsum_v2",
    networks=[
        load_family("sd1").components[component].part(component, [model])
        for component, model in (("text_encoder", "TextEncoder"), ("unet", "Unet"), ("vae_decoder", "VAEDecoder"))
    ],
    scheduler_overrides={"steps_offset": 1},
    scheduler={"_class_name": "PNDMScheduler", "beta_start": 0.00085, "prediction_type": "v_prediction"},
    notes=["the app must bring a scheduler of its own"],
    os="iOS17",
    compute_units="cpuAndNeuralEngine",
    compiler={"compiler": "portable"},
    tools={"sdbuild": "0.1.0"},
    compression={"Unet": [{"palettize": {"bits": 6}}]},
)


@pytest.fixture
def resources(tmp_path: Path) -> Path:
    workshop = Workshop(tmp_path)
    tokenizer = tmp_path / "tokenizer"
    tokenizer.mkdir()
    (tokenizer / "vocab.json").write_text(json.dumps(VOCABULARY))
    (tokenizer / "merges.txt").write_text(MERGES)
    models = {name: workshop.compiled(interface) for name, interface in diffusion().items()}
    assemble(models, [tokenizer], tmp_path / "Resources")
    return tmp_path / "Resources"


def test_assembled_files_are_links_where_links_are_possible(resources: Path) -> None:
    weights = resources / "Unet.mlmodelc" / "weights" / "weight.bin"
    assert weights.stat().st_nlink == 2
    assert sorted(entry.name for entry in resources.iterdir()) == [
        "TextEncoder.mlmodelc",
        "Unet.mlmodelc",
        "VAEDecoder.mlmodelc",
        "merges.txt",
        "vocab.json",
    ]


def test_what_an_app_must_know(resources: Path) -> None:
    manifest = make_manifest(resources, DESCRIPTION)
    assert manifest["image"] == {"height": 64, "width": 128}
    assert manifest["latents"] == {"channels": 4, "vae_factor": 8, "vae_scale": 0.18215}
    assert manifest["scheduler"] == {
        "_class_name": "PNDMScheduler",
        "beta_start": 0.00085,
        "prediction_type": "v_prediction",
    }
    assert manifest["notes"] == ["the app must bring a scheduler of its own"]
    assert manifest["scheduler_overrides"] == {"steps_offset": 1}
    assert manifest["denoiser"] == {"attention": "split_einsum_v2", "batch": 2, "chunked": False}
    assert manifest["networks"][0] == {
        "name": "text_encoder",
        "role": "text_encoder",
        "inputs": {"input_ids": "tokens"},
        "outputs": {"last_hidden_state": "hidden"},
        "padding": "<|endoftext|>",
        "models": ["TextEncoder"],
    }
    assert "size_conditioning" not in manifest
    unet = manifest["models"]["Unet"]
    assert unet["compression"] == [{"palettize": {"bits": 6}}]
    assert unet["compute_precision"] == "Mixed (Float16, Float32)"
    assert unet["storage_precision"] == "Float32"
    assert list(manifest["models"]) == ["TextEncoder", "Unet", "VAEDecoder"]


def test_sizes_and_digests_are_those_of_the_files(resources: Path) -> None:
    read: list[int] = []
    manifest = make_manifest(resources, DESCRIPTION, read.append)
    files = {p.relative_to(resources).as_posix(): p.read_bytes() for p in resources.rglob("*") if p.is_file()}
    assert manifest["files"] == {
        path: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()} for path, content in files.items()
    }
    assert manifest["size"] == read[-1] == sum(map(len, files.values()))
    assert sum(model["size"] for model in manifest["models"].values()) == manifest["size"] - sum(
        len(files[name]) for name in ("vocab.json", "merges.txt")
    )


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="sha256sum is not installed")
@pytest.mark.parametrize("model", [None, "Unet"])
def test_the_documented_command_repeats_a_tree_digest(model: str | None, resources: Path) -> None:
    manifest = make_manifest(resources, DESCRIPTION)
    command = r"find . -type f -printf '%P\n' | LC_ALL=C sort | xargs -d '\n' sha256sum | sha256sum"
    folder = resources / f"{model}.mlmodelc" if model else resources
    digest = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, check=True).stdout[:64]
    assert digest == (manifest["models"][model] if model else manifest)["sha256"]


def test_the_text_is_the_same_for_a_copy_elsewhere_and_tells_nothing_of_the_machine(
    resources: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "elsewhere"
    shutil.copytree(resources, copy)
    reordered = replace(DESCRIPTION, scheduler=dict(reversed(DESCRIPTION.scheduler.items())))
    write_manifest(make_manifest(resources, DESCRIPTION), tmp_path / "1.json")
    write_manifest(make_manifest(copy, reordered), tmp_path / "2.json")
    text = (tmp_path / "1.json").read_text()
    assert text == (tmp_path / "2.json").read_text()
    assert str(tmp_path) not in text
    assert list(json.loads(text)) == sorted(json.loads(text))
    assert text.endswith("}\n")


def test_a_denoiser_that_takes_sizes_is_told_of_them(resources: Path) -> None:
    networks = [load_family("sdxl").components["unet"].part("unet", ["Unet"])]
    size = [64, 128]
    assert make_manifest(resources, replace(DESCRIPTION, networks=networks))["size_conditioning"] == {
        "original_size": size,
        "crop_top_left": [0, 0],
        "target_size": size,
    }
