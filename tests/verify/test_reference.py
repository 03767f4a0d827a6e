"""The originals are what the libraries themselves load and compute."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel

from sdbuild.errors import UserError
from tests.architectures import CONFIGS, make, original
from tests.coreml.convert.test_convert import reference
from tests.verify.built import SHAPES, Source, saved, shapes


def inputs(kind: str, config: dict[str, Any]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    if kind.startswith("clip"):
        ids = torch.randint(0, 590, (1, 77), generator=generator).float()
        ids[0, 9:] = config["eos_token_id"]
        return [ids]
    if kind == "vae_decoder":
        return [normal(1, 4, 4, 8)]
    if kind == "vae_encoder":
        return [normal(1, 3, 32, 64)]
    if kind == "safety_checker":
        side = config["vision_config"]["image_size"]
        return [normal(1, 3, side, side), normal(1, 16, 8, 3), torch.zeros(1)]
    width = config["cross_attention_dim"]
    added = [normal(2, 6), normal(2, 48)] if kind == "unet_xl" else []
    return [normal(2, 4, 8, 4), torch.full((2,), 37.0), normal(2, width, 1, 77), *added]


def run(source: Source, arguments: list[torch.Tensor]) -> list[np.ndarray]:
    return original(source.kind, source.config, source.weights)([tensor.numpy() for tensor in arguments])


@pytest.mark.parametrize("kind", list(CONFIGS))
def test_every_kind_is_the_librarys_own(kind: str, tmp_path: Path) -> None:
    arguments = inputs(kind, CONFIGS[kind])
    found = run(saved(tmp_path / kind, kind, CONFIGS[kind]), arguments)
    expected = reference(kind, make(kind, CONFIGS[kind]), arguments)
    for array, tensor in zip(found, expected, strict=True):
        np.testing.assert_array_equal(array, tensor.numpy())


@pytest.mark.parametrize(
    ("folder", "kind", "library"),
    [
        ("text_encoder", "clip_text", CLIPTextModel),
        ("unet", "unet", UNet2DConditionModel),
        ("vae", "vae_decoder", AutoencoderKL),
    ],
)
def test_weights_are_what_the_library_loads(folder: str, kind: str, library: Any) -> None:
    """So a checkpoint that we misread is not misread alike on both sides."""
    loaded = library.from_pretrained(SHAPES / folder, dtype=torch.float32, local_files_only=True).eval()
    arguments = inputs(kind, dict(loaded.config.to_dict() if kind == "clip_text" else loaded.config))
    (found, *_), (expected, *_) = run(shapes(folder, kind), arguments), reference(kind, loaded, arguments)
    np.testing.assert_array_equal(found, expected.numpy())


def test_names_of_old_checkpoints_are_what_the_library_takes_them_for(tmp_path: Path) -> None:
    source = saved(tmp_path / "vae", "vae_decoder", CONFIGS["vae_decoder"])
    file = tmp_path / "vae" / "model.safetensors"
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    tensors = load_file(file)
    for new, before in old.items():
        tensors = {name.replace(f"attentions.0.{new}.", f"attentions.0.{before}."): t for name, t in tensors.items()}
    file.unlink()
    save_file(tensors, tmp_path / "vae" / "diffusion_pytorch_model.safetensors")
    arguments = inputs("vae_decoder", {})
    library = AutoencoderKL.from_pretrained(tmp_path / "vae", dtype=torch.float32, local_files_only=True).eval()
    (found,), (expected,) = run(source, arguments), reference("vae_decoder", library, arguments)
    np.testing.assert_array_equal(found, expected.numpy())


def test_one_layer_at_a_time_is_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    run, forward, most = original("unet", SHAPES / "unet" / "config.json", SHAPES / "unet"), torch.nn.Conv2d.forward, []
    model = run._model

    def watched(layer: torch.nn.Conv2d, tensor: torch.Tensor) -> torch.Tensor:
        most.append(sum(parameter.numel() for parameter in model.parameters() if parameter.device.type == "cpu"))
        return forward(layer, tensor)

    monkeypatch.setattr(torch.nn.Conv2d, "forward", watched)
    run([tensor.numpy() for tensor in inputs("unet", {"cross_attention_dim": 128})])
    sizes = [sum(p.numel() for p in m.parameters(recurse=False)) for m in model.modules()]
    assert 0 < max(most) <= max(sizes)
    assert all(parameter.is_meta for parameter in model.parameters())


def _damaged(source: Source, name: str, tensor: torch.Tensor | None) -> Source:
    file = source.weights / "model.safetensors"
    tensors = {key: value for key, value in load_file(file).items() if key != name}
    file.unlink()
    save_file(tensors | ({} if tensor is None else {name: tensor}), file)
    return source


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (None, r"conv_in\.bias is not in model\.safetensors"),
        (torch.zeros(7), r"conv_in\.bias has shape \[7\], config\.json says \[32\]"),
        (torch.full((32,), torch.nan), "in PyTorch, gives infinities or NaNs"),
    ],
    ids=["missing", "of-another-shape", "not-finite"],
)
def test_weights_that_are_no_good(tensor: torch.Tensor | None, message: str, tmp_path: Path) -> None:
    source = _damaged(saved(tmp_path / "unet", "unet", CONFIGS["unet"]), "conv_in.bias", tensor)
    with pytest.raises(UserError, match=message):
        run(source, inputs("unet", CONFIGS["unet"]))
