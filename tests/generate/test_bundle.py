"""What a bundle says of itself, and what is said of one that is not as it was built."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from sdbuild.errors import UserError
from sdbuild.generate import Pipeline
from sdbuild.generate.bundle import read_bundle


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    shutil.copytree(whole, folder, ignore=shutil.ignore_patterns("work"))
    return folder


def change(folder: Path, **changes: Any) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_bundle(whole: Path) -> None:
    bundle = read_bundle(whole)
    facts = bundle.facts
    assert (bundle.pipeline, facts.height, facts.width, facts.latent_shape) == ("sd1", 64, 64, (1, 4, 8, 8))
    assert (bundle.guidance, bundle.steps, facts.tokens) == (7.5, 20, 77)
    assert bundle.model("Unet") == whole / "Resources" / "Unet.mlmodelc"
    with pytest.raises(UserError, match="no VAEEncoder in this bundle, which has TextEncoder, Unet, VAEDecoder"):
        bundle.model("VAEEncoder")


def test_defaults_of_the_bundle(copy: Path) -> None:
    change(copy, defaults={"guidance": 2, "steps": 3, "scheduler": "lcm"})
    pipeline = Pipeline.open(copy)
    metadata = pipeline.generate("a circle").metadata
    assert [metadata[key] for key in ("guidance", "steps", "scheduler")] == ["2", "3", "lcm"]
    metadata = pipeline.generate("a circle", guidance=1, steps=1, scheduler="euler").metadata
    assert [metadata[key] for key in ("guidance", "steps", "scheduler")] == ["1", "1", "euler"]


@pytest.mark.parametrize("name", ["whole", "chunked", "large"])
def test_a_manifest_of_the_first_schema_says_the_same(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """It did not say how the networks are joined, which is read from the models."""
    folder: Path = request.getfixturevalue(name)
    manifest = json.loads((folder / "manifest.json").read_text())
    for key in ("networks", "scheduler_overrides", "denoiser"):
        del manifest[key]
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"schema": 1}))
    (tmp_path / "Resources").symlink_to(folder / "Resources")
    assert read_bundle(tmp_path).facts == read_bundle(folder).facts


def test_what_an_image_takes_and_is_not_there(copy: Path) -> None:
    networks = json.loads((copy / "manifest.json").read_text())["networks"]
    for role, what in (("text_encoder", "text encoder"), ("denoiser", "denoiser"), ("decoder", "decoder")):
        change(copy, networks=[network for network in networks if network["role"] != role])
        with pytest.raises(UserError, match=f"Resources: no {what} in this bundle, which has "):
            Pipeline.open(copy).generate("a circle")


def test_a_bundle_without_networks(copy: Path) -> None:
    change(copy, networks=[])
    with pytest.raises(UserError, match=r"no text encoder in this bundle, which has no networks$"):
        Pipeline.open(copy).generate("a circle")


def test_a_model_that_is_given_nothing(copy: Path) -> None:
    networks = json.loads((copy / "manifest.json").read_text())["networks"]
    networks[1]["models"] = ["TextEncoder"]
    change(copy, networks=networks)
    with pytest.raises(UserError, match=r"TextEncoder\.mlmodelc: takes input_ids; there is nothing to give it$"):
        Pipeline.open(copy).generate("a circle", steps=1)


def test_padding_that_the_vocabulary_lacks(copy: Path) -> None:
    networks = json.loads((copy / "manifest.json").read_text())["networks"]
    networks[0]["padding"] = "nope"
    change(copy, networks=networks)
    with pytest.raises(
        UserError, match="Resources: text_encoder fills prompts up with 'nope', which is no token of voc"
    ):
        Pipeline.open(copy).generate("a circle", steps=1)


def test_a_denoiser_that_takes_more_is_refused_before_a_model_is_opened(copy: Path) -> None:
    networks = json.loads((copy / "manifest.json").read_text())["networks"]
    networks[1]["inputs"]["mask"] = "mask"
    change(copy, networks=networks)
    with pytest.raises(UserError, match=r"Resources: the denoiser takes mask, too, and there is nothing to give it$"):
        Pipeline.open(copy).generate("a circle", progress=lambda *told: pytest.fail("it began"))


def test_an_array_of_another_shape_than_the_model_takes(copy: Path) -> None:
    networks = json.loads((copy / "manifest.json").read_text())["networks"]
    networks[1]["inputs"]["encoder_hidden_states"] = "time"
    change(copy, networks=networks)
    with pytest.raises(
        UserError, match=r"encoder_hidden_states: has shape \[2\], the model takes fp16 \[2, 128, 1, 77\]"
    ):
        Pipeline.open(copy).generate("a circle", steps=1)


def test_an_unpacked_zip(copy: Path) -> None:
    for entry in (copy / "Resources").iterdir():
        entry.rename(copy / entry.name)
    (copy / "Resources").rmdir()
    assert read_bundle(copy).resources == copy


NETWORK: dict[str, Any] = {"name": "unet", "role": "denoiser", "models": ["Unet"], "inputs": {}, "outputs": {}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 3}, "written by another version"),
        ({"schema": None}, "damaged, schema is missing"),
        ({"schema": 1, "pipeline": "sd3"}, "generating with a pipeline sd3 is not supported, only with sd1, sd2, sdxl"),
        ({"image": {"height": "64", "width": 64}}, "damaged, image.height is '64'"),
        ({"image": {"height": 64, "width": -64}}, "damaged, image.width is -64"),
        ({"denoiser": {"batch": 0}}, "damaged, denoiser.batch is 0"),
        ({"latents": {"channels": 4, "vae_factor": 0, "vae_scale": 1}}, "damaged, latents.vae_factor is 0"),
        ({"latents": {"channels": 4, "vae_factor": 8, "vae_scale": -1}}, "damaged, latents.vae_scale is -1"),
        ({"latents": {"channels": 4, "vae_factor": 8, "vae_scale": float("inf")}}, "damaged, latents.vae_scale is inf"),
        (
            {"latents": {"channels": 4, "vae_factor": 8, "vae_scale": 1e-300}},
            "damaged, .* is 1e-300, and must be from 0.001",
        ),
        ({"networks": [{"name": "unet"}]}, "damaged, networks.0 is {'name': 'unet'}"),
        ({"networks": [NETWORK | {"role": "painter"}]}, r"generating with a painter \(unet\) is not supported, only"),
        ({"networks": [NETWORK | {"models": ["Net"]}]}, "damaged, unet has no Net under models"),
        ({"networks": [NETWORK | {"models": []}]}, "damaged, unet has no models"),
        (
            {"networks": [NETWORK | {"models": ["Unet", "Unet"]}]},
            r"damaged, unet has a model more than once \(Unet, Unet\)",
        ),
        ({"networks": [NETWORK | {"outputs": {"x": "noise"}}] * 2}, "damaged, unet is there twice under networks"),
        ({"networks": [NETWORK | {"inputs": ["sample"]}]}, "damaged, networks.0 is"),
        ({"networks": [NETWORK | {"models": "Unet"}]}, "damaged, networks.0 is"),
        ({"networks": [NETWORK]}, "damaged, unet is a denoiser and gives no noise"),
        ({"networks": None}, "damaged, networks is missing"),
        ({"latents": []}, "damaged, latents.channels is missing"),
        ({"models": {"Unet": 1}}, "damaged, models.Unet.sha256 is missing"),
        ({"scheduler": None}, "damaged, scheduler is missing"),
        ({"scheduler": {"num_train_timesteps": "many"}}, "damaged, scheduler.num_train_timesteps is 'many'"),
        (
            {"scheduler": {"beta_start": float("nan")}},
            "damaged, scheduler.beta_start is nan, and must be a number above 0",
        ),
        (
            {"scheduler": {"beta_start": 2}},
            "damaged, scheduler.beta_start is 2, and must be a number above 0 and below 1",
        ),
        ({"scheduler": {"beta_start": 0}}, "damaged, scheduler.beta_start is 0"),
        (
            {"scheduler": {"beta_end": 1e-9, "beta_start": 0.1}},
            "damaged, scheduler.beta_start is 0.1, and must be less",
        ),
        ({"scheduler": {"trained_betas": [0.1, None]}}, "damaged, scheduler.trained_betas is"),
        ({"scheduler": {"prediction_type": "image"}}, "damaged, scheduler.prediction_type is 'image'"),
        ({"defaults": {"guidance": "much"}}, "damaged, defaults.guidance is 'much'"),
        ({"defaults": {"steps": 0}}, "damaged, defaults.steps is 0"),
        ({"defaults": {"scheduler": "LCM"}}, "damaged, defaults.scheduler is 'LCM', and must be one of ddim, ddpm"),
        ({"defaults": {"guidance": float("nan")}}, "damaged, defaults.guidance is nan, and must be a number from 0"),
    ],
)
def test_a_manifest_that_does_not_fit(copy: Path, changes: dict[str, Any], message: str) -> None:
    change(copy, **changes)
    with pytest.raises(UserError, match=f"manifest.json: {message}"):
        read_bundle(copy)


def test_files_that_are_not_what_was_built(copy: Path, tmp_path: Path) -> None:
    weights = copy / "Resources" / "Unet.mlmodelc" / "weights" / "weight.bin"
    size = weights.stat().st_size
    with weights.open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(UserError, match=f"weight.bin: 1000 bytes long, {size} when it was built; run `doit build`"):
        read_bundle(copy)
    weights.unlink()
    with pytest.raises(UserError, match=r"weight.bin: missing; run `doit build` again"):
        read_bundle(copy)
    (copy / "manifest.json").write_text("{")
    with pytest.raises(UserError, match=r"manifest.json: damaged, it is not JSON"):
        read_bundle(copy)


def test_nothing_built_yet(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no zip")
    os.mkfifo(tmp_path / "pipe")
    expected = {
        "none": ("as there is no such file or folder", 3),
        "file/inside": ("as there is no such file or folder", 3),
        "pipe": ("neither a folder nor a regular file", 3),
        ".": ("it has no manifest.json, and no compiled models", 1),
        "file": (r"a file that is no zip, or not a whole one\): get it again, or", 1),
    }
    for name, (what, status) in expected.items():
        with pytest.raises(UserError, match=rf"no bundle there,? .*{what}.* name a folder or a zip") as refused:
            Pipeline.open(tmp_path / name)
        assert refused.value.status == status
    with pytest.raises(UserError, match="cannot be looked up") as refused:
        Pipeline.open(tmp_path / ("x" * 300))
    assert refused.value.status == 3
