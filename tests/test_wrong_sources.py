"""A source that is not what the recipe means: `sdbuild build` says so in a line, before anything heavy is done."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.sources.make_models import sd1, sdxl, write

BASE: dict[str, Any] = {
    "name": "mine",
    "model": {"source": "./model"},
    "target": {"os": "macOS14"},
    "resolution": "64x96",
}
DEEP = {"down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"]}
WITH_CHECKER = ["text_encoder", "unet", "vae_decoder", "safety_checker"]


@pytest.mark.parametrize(
    ("files", "recipe", "message"),
    [
        pytest.param(
            sdxl(),
            {"pipeline": "sd1"},
            "mine.yaml:7:11: ./model: the UNet is one of Stable Diffusion XL (it takes image sizes besides the prompt), but "
            "the recipe says `pipeline: sd1`\n  7 | pipeline: sd1\n    |           ^^^\n    = write `pipeline: sdxl`\n",
            id="an SDXL folder in an SD recipe",
        ),
        pytest.param(
            sd1(unet={"cross_attention_dim": 1024}),
            {"pipeline": "sdxl"},
            "mine.yaml:7:11: ./model: the UNet is one of Stable Diffusion 2.x (it attends to 1024 numbers a token), but the "
            "recipe says `pipeline: sdxl`\n  7 | pipeline: sdxl\n    |           ^^^^\n    = write `pipeline: sd2`\n",
            id="an SD folder in an SDXL recipe",
        ),
        pytest.param(
            sd1(unet={"in_channels": 9}),
            {"pipeline": "sd1"},
            "./model: an inpainting model: its UNet takes 9 channels, five of them the mask and the image under it; only "
            "text-to-image models can be built: name one",
            id="a UNet of 9 channels",
        ),
        pytest.param(
            sd1(vae={"block_out_channels": [8, 8, 8]}),
            {"pipeline": "sd1"},
            "./model: the VAE makes one latent pixel of 4x4, and `pipeline: sd1` wants 8x8; name a VAE of that pipeline",
            id="a VAE of another factor",
        ),
        pytest.param(
            sd1(unet=DEEP),
            {"pipeline": "sd1"},
            "mine.yaml:6:13: both sides of 64x96 must be multiples of 64: the UNet of './model' halves the latent image until "
            "8 become 1",
            id="a resolution that the UNet cannot halve",
        ),
        pytest.param(
            sd1(text_encoder={"max_position_embeddings": 64}),
            {"pipeline": "sd1"},
            "./model: text_encoder takes prompts of 64 tokens, and `pipeline: sd1` has 77; name a model of that pipeline",
            id="a text encoder for shorter prompts",
        ),
        pytest.param(
            sd1(index={"safety_checker": [None, None]}),
            {"pipeline": "sd1", "components": WITH_CHECKER},
            "./model: this model has no safety_checker, says its model_index.json; name another source, or leave out of "
            "`components:` what needs it",
            id="a component that the model does not have",
        ),
    ],
)
def test_a_wrong_source(files: dict[str, bytes], recipe: dict[str, Any], message: str, tmp_path: Path) -> None:
    write(files, tmp_path / "model")
    done = run("build", BASE | recipe, tmp_path)
    assert done.returncode != 0
    assert_told(done, message, tmp_path)


def run(command: str, recipe: dict[str, Any], folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "mine.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    return subprocess.run(
        [sys.executable, "-m", "sdbuild", command, "config=mine.yaml"],
        cwd=folder,
        env={**os.environ, "SDBUILD_STORE": str(folder / "store"), "COLUMNS": "300"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def assert_told(done: subprocess.CompletedProcess[str], message: str, folder: Path) -> None:
    told = done.stdout + done.stderr
    assert told.count(message) == 1, told
    assert "Traceback" not in told
    assert not any((folder / "store" / "artifacts").glob("*/*")), told
    assert not (folder / "build").exists()


@pytest.mark.parametrize(
    "path", ["unet/config.json", "unet/diffusion_pytorch_model.safetensors", "tokenizer/merges.txt"]
)
def test_a_pipe_that_nobody_writes_to_in_the_place_of_a_file(path: str, tmp_path: Path) -> None:
    write(sd1(), tmp_path / "model")
    (tmp_path / "model" / path).unlink()
    os.mkfifo(tmp_path / "model" / path)
    recipe = BASE | {"pipeline": "sd1"}
    if path.endswith("config.json"):
        assert run("validate", recipe, tmp_path).returncode == 0  # it does not wait
    done = run("build", recipe, tmp_path)
    assert done.returncode != 0
    message = f"./model: {path} is a pipe, a socket or a device, and no file; put the file itself there, or remove it"
    assert_told(done, message, tmp_path)
