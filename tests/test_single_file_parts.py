"""What a single file lacks, and how its numbers may be stored: each weight that a build reads is that of the file."""

import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

from sdbuild.errors import SourceError
from sdbuild.modeling.weights import open_weights
from sdbuild.plan import plan
from sdbuild.recipe import load_recipe
from tests.execute import execute
from tests.single_files import Shapes, averages, clip, drawn, small, vae

SD1 = small("sd1")


def tensors(shapes: Shapes, dtype: torch.dtype = torch.float16, seed: int = 0) -> dict[str, torch.Tensor]:
    return {key: torch.from_numpy(value).to(dtype) for key, value in drawn(shapes, seed=seed).items()}


def built(folder: Path, **model: Any) -> dict[str, Any]:
    """The weights of each component, as stages open them."""
    written = {"name": "x", "pipeline": "sd1", "model": model, "target": {"os": "iOS17"}, "resolution": "64x64"}
    (folder / "x.yaml").write_text(yaml.safe_dump(written))
    graph = plan([load_recipe(folder / "x.yaml").recipes[0]])
    downloads = [node for task, node in graph.tasks.items() if task.startswith("download:")]
    made = Path(tempfile.mkdtemp(dir=folder))
    execute(graph, made, *downloads)
    found = {}
    for task in ("text_encoder", "unet", "vae_decoder"):
        job = graph.tasks[f"convert:{task}"].job
        weights = job.weights
        node, inside = getattr(weights, "node", weights), getattr(weights, "subpath", "")
        found[task] = open_weights(made / node.label.replace(":", "-") / "output" / inside, {}, {})
    return found


def expected(tensor: torch.Tensor) -> np.ndarray:
    kept = tensor.dtype in (torch.float16, torch.float32)
    return (tensor if kept else tensor.float()).numpy()


KEYS = {
    "unet": ("conv_in.weight", "model.diffusion_model.input_blocks.0.0.weight"),
    "vae_decoder": ("decoder.mid_block.attentions.0.to_q.weight", "first_stage_model.decoder.mid.attn_1.q.weight"),
    "text_encoder": (
        "text_model.encoder.layers.1.mlp.fc1.weight",
        "cond_stage_model.transformer.text_model.encoder.layers.1.mlp.fc1.weight",
    ),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2], ids=str)
def test_types_of_numbers(dtype: torch.dtype, tmp_path: Path) -> None:
    state = tensors(SD1, dtype)
    save_file(state, tmp_path / "x.safetensors")
    for component, weights in built(tmp_path, source="./x.safetensors").items():
        name, key = KEYS[component]
        np.testing.assert_array_equal(weights.load(name), expected(state[key]))


class ModelCheckpoint:
    """Called as PyTorch Lightning calls its own."""


def of_2022(state: dict[str, torch.Tensor], path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint as training scripts of 2022 saved it: the weights in a nest, beside the state of a callback."""
    name = "pytorch_lightning.callbacks.model_checkpoint"
    for length in (1, 2, 3):
        part = ".".join(name.split(".")[:length])
        monkeypatch.setitem(sys.modules, part, ModuleType(part))
    monkeypatch.setattr(ModelCheckpoint, "__module__", name)
    sys.modules[name].ModelCheckpoint = ModelCheckpoint  # type: ignore[attr-defined]
    callbacks = {ModelCheckpoint: {"monitor": "val/loss", "best_model_score": np.float64(0.25)}}
    torch.save({"epoch": 3, "global_step": 875000, "callbacks": callbacks, "state_dict": state}, path)
    for length in (1, 2, 3):
        monkeypatch.delitem(sys.modules, ".".join(name.split(".")[:length]))


def test_a_pickle_is_read_if_the_recipe_trusts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = tensors(SD1 | averages(SD1), torch.float32)
    of_2022(state, tmp_path / "x.ckpt", monkeypatch)
    with pytest.raises(
        SourceError, match=r"x\.ckpt: a pickle, and loading .* write `allow_pickle: true` under `model:`"
    ):
        built(tmp_path, source="./x.ckpt")
    for component, weights in built(tmp_path, source="./x.ckpt", allow_pickle=True, ema=False).items():
        name, key = KEYS[component]
        np.testing.assert_array_equal(weights.load(name), state[key].numpy())
    averaged = built(tmp_path, source="./x.ckpt", allow_pickle=True, ema=True)["unet"]
    key = "model_ema.diffusion_modelinput_blocks00weight"
    np.testing.assert_array_equal(averaged.load("conv_in.weight"), state[key].numpy())


def test_a_pickle_with_more_than_weights_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"state_dict": tensors(SD1), "other": Path("x")}, tmp_path / "x.ckpt")
    with pytest.raises(SourceError, match="to load that could run code hidden in the file"):
        built(tmp_path, source="./x.ckpt", allow_pickle=True)


@pytest.mark.parametrize("form", ["ldm", "diffusers", "bare"])
def test_what_a_file_lacks_comes_from_others(form: str, tmp_path: Path) -> None:
    """A UNet alone, with a VAE and a text encoder in files of their own."""
    state = tensors(SD1)
    unet = {key: value for key, value in state.items() if key.startswith("model.diffusion_model.")}
    save_file(unet, tmp_path / "unet.safetensors")
    own_vae, own_text = tensors(vae((32, 32, 64, 64)), seed=1), tensors(clip(64, 2, 49408), seed=2)
    if form == "ldm":
        own_vae = {f"first_stage_model.{key}": value for key, value in own_vae.items()}
        own_text = {f"cond_stage_model.transformer.{key}": value for key, value in own_text.items()}
    if form == "bare":
        own_text = {key.removeprefix("text_model."): value for key, value in own_text.items()}
    save_file(own_vae, tmp_path / "vae.safetensors")
    save_file(own_text, tmp_path / "text.safetensors")
    with pytest.raises(
        SourceError, match=r"there is no text encoder in the file; name one under `model\.text_encoder:`"
    ):
        built(tmp_path, source="./unet.safetensors")
    found = built(tmp_path, source="./unet.safetensors", vae="./vae.safetensors", text_encoder="./text.safetensors")
    key = next(key for key in own_vae if key.endswith("decoder.mid.attn_1.q.weight"))
    np.testing.assert_array_equal(found["vae_decoder"].load(KEYS["vae_decoder"][0]), own_vae[key].numpy())
    key = next(key for key in own_text if key.endswith("encoder.layers.1.mlp.fc1.weight"))
    np.testing.assert_array_equal(found["text_encoder"].load(KEYS["text_encoder"][0]), own_text[key].numpy())


def test_a_file_of_the_wrong_part_is_refused(tmp_path: Path) -> None:
    save_file(tensors(SD1), tmp_path / "x.safetensors")
    save_file(tensors(clip(64, 2, 49408)), tmp_path / "text.safetensors")
    with pytest.raises(SourceError, match=r"text\.safetensors: there is no VAE in the file: "):
        built(tmp_path, source="./x.safetensors", vae="./text.safetensors")
