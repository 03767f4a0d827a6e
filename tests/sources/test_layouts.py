"""Layouts of single files: every weight is that which diffusers' own converter finds, and the configuration fits."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers.loaders.single_file_utils as oracle
import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from sdbuild.modeling.checkpoint import Checkpoint
from sdbuild.sources.layouts import components_in
from sdbuild.sources.layouts.base import Component
from sdbuild.sources.single import read_contents
from tests.single_files import (
    REFINER,
    SD1,
    SD2,
    SDXL,
    SMALL,
    Shapes,
    averages,
    controlnet,
    drawn,
    sd1,
    sd2,
    sdxl,
    small,
    write,
)

UNET, VAE = "model.diffusion_model.", "first_stage_model."


def contents(shapes: Shapes, **options: Any) -> dict[str, Component]:
    return read_contents("x", {key: ("F16", shape) for key, shape in shapes.items()}, {}, **options).components


def converted(
    family: str, folder: str, state: dict[str, torch.Tensor], config: dict[str, Any]
) -> dict[str, torch.Tensor]:
    """What diffusers makes of a checkpoint, for one of its models."""
    if folder == "unet":
        return oracle.convert_ldm_unet_checkpoint(dict(state), config)
    if folder == "vae":
        return oracle.convert_ldm_vae_checkpoint(dict(state), config)
    if folder == "text_encoder" and family in ("sd1", "sdxl"):
        return oracle.convert_ldm_clip_checkpoint(dict(state))
    prefix = {
        "sd2": "cond_stage_model.model.",
        "sdxl": "conditioner.embedders.1.model.",
        "refiner": "conditioner.embedders.0.model.",
    }[family]
    model = SimpleNamespace(config=SimpleNamespace(hidden_size=config["hidden_size"]))
    if (projection := f"{prefix}text_projection") in state and family == "sd2":
        state = {key: value for key, value in state.items() if key != projection}  # it ignores that of 2.x
    if family != "sd2":  # the width of queries is taken for that of the projection there, which is so in the real ones
        state = {key: value for key, value in state.items() if key != projection} | {"x": torch.zeros(1)}
    return oracle.convert_open_clip_checkpoint(model, dict(state), prefix=prefix)


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl", "refiner"])
def test_weights_are_those_of_diffusers_converter(family: str, tmp_path: Path) -> None:
    shapes = small(family)
    path = write(tmp_path / "x.safetensors", shapes)
    state = {key: torch.from_numpy(value) for key, value in drawn(shapes).items()}
    found = contents(shapes)
    assert list(found) == [each for each in FOLDERS[family] if each in found] == FOLDERS[family]
    for folder, component in found.items():
        checkpoint = Checkpoint([path], component.names)
        wanted = converted(family, folder, state, component.config)
        wanted = {name: value for name, value in wanted.items() if not name.endswith("position_ids")}
        if family == "sd2" and folder == "text_encoder":
            last = max(int(name.split(".")[3]) for name in wanted if ".layers." in name)
            wanted = {name: value for name, value in wanted.items() if f".layers.{last}." not in name}
        if folder == "text_encoder_2":
            key = next(key for key in state if key.endswith(".text_projection"))
            wanted["text_projection.weight"] = state[key].T
        assert checkpoint.names() == sorted(wanted)
        for name, value in wanted.items():
            read = checkpoint.load(name)
            assert read.dtype == np.float16 and read.flags.c_contiguous
            np.testing.assert_array_equal(read.reshape(value.shape), value.numpy(), err_msg=name)
            assert checkpoint.shape(name) == read.shape


FOLDERS = {
    "sd1": ["text_encoder", "unet", "vae"],
    "sd2": ["unet", "vae", "text_encoder"],
    "sdxl": ["text_encoder", "unet", "vae", "text_encoder_2"],
    "refiner": ["unet", "vae", "text_encoder_2"],
}
FULL = {"sd1": sd1(SD1), "sd2": sd2(SD2), "sdxl": sdxl(SDXL), "refiner": sdxl(REFINER)}


def module(config: dict[str, Any]) -> nn.Module:
    """The library's own model of a configuration."""
    with torch.device("meta"):
        if config.get("_class_name") == "UNet2DConditionModel":
            return UNet2DConditionModel.from_config(config)
        if config.get("_class_name") == "AutoencoderKL":
            return AutoencoderKL.from_config(config)
        kind = {"CLIPTextModel": CLIPTextModel, "CLIPTextModelWithProjection": CLIPTextModelWithProjection}
        return kind[config["architectures"][0]](CLIPTextConfig(**config))


@pytest.mark.parametrize("family", list(FULL))
def test_configurations_fit_the_weights_and_are_the_published_ones(family: str) -> None:
    for folder, component in contents(FULL[family]).items():
        shapes = {name: taken.shape(FULL[family][taken.key]) for name, taken in component.names.items()}
        wanted = {name: tuple(tensor.shape) for name, tensor in module(component.config).named_parameters()}
        if folder.startswith("text"):  # with a level more or less, by the version of transformers
            wanted = {f"text_model.{name.removeprefix('text_model.')}": shape for name, shape in wanted.items()}
            shapes = {f"text_model.{name.removeprefix('text_model.')}": shape for name, shape in shapes.items()}
        squeezed = {name: tuple(side for side in shape if side != 1) for name, shape in shapes.items()}
        assert squeezed == {name: tuple(side for side in shape if side != 1) for name, shape in wanted.items()}
        for key, value in PUBLISHED[family].get(folder, {}).items():
            assert component.config.get(key) == value, key


_SD = {"block_out_channels": [320, 640, 1280, 1280], "layers_per_block": 2, "transformer_layers_per_block": 1}
_VAE = {"block_out_channels": [128, 256, 512, 512], "layers_per_block": 2, "latent_channels": 4, "in_channels": 3}
_L = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "hidden_act": "quick_gelu"}
_G = {
    "hidden_size": 1280,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "hidden_act": "gelu",
    "projection_dim": 1280,
    "intermediate_size": 5120,
}
PUBLISHED: dict[str, dict[str, dict[str, Any]]] = {  # of config.json on the hub
    "sd1": {
        "unet": _SD | {"attention_head_dim": 8, "cross_attention_dim": 768, "use_linear_projection": False},
        "vae": _VAE,
        "text_encoder": _L,
    },
    "sd2": {
        "unet": _SD
        | {"attention_head_dim": [5, 10, 20, 20], "cross_attention_dim": 1024, "use_linear_projection": True},
        "vae": _VAE,
        "text_encoder": {
            "hidden_size": 1024,
            "num_hidden_layers": 23,
            "num_attention_heads": 16,
            "hidden_act": "gelu",
            "intermediate_size": 4096,
        },
    },
    "sdxl": {
        "unet": {
            "block_out_channels": [320, 640, 1280],
            "transformer_layers_per_block": [1, 2, 10],
            "attention_head_dim": [5, 10, 20],
            "cross_attention_dim": 2048,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
            "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        },
        "vae": _VAE,
        "text_encoder": _L,
        "text_encoder_2": _G,
    },
    "refiner": {
        "unet": {
            "block_out_channels": [384, 768, 1536, 1536],
            "transformer_layers_per_block": 4,
            "attention_head_dim": [6, 12, 24, 24],
            "cross_attention_dim": 1280,
            "projection_class_embeddings_input_dim": 2560,
        },
        "vae": _VAE,
        "text_encoder_2": _G,
    },
}


@pytest.mark.parametrize(
    ("family", "unet", "vae", "text", "text_2"),
    [
        ("sd1", 686, 248, 196, 0),
        ("sd2", 686, 248, 372, 0),
        ("sdxl", 1680, 248, 196, 517),
        ("refiner", 1220, 248, 0, 517),
    ],
)
def test_keys_are_as_many_as_in_the_published_files(family: str, unet: int, vae: int, text: int, text_2: int) -> None:
    found = contents(FULL[family])
    counts = {folder: len(component.names) for folder, component in found.items()}
    wanted = {"unet": unet, "vae": vae, "text_encoder": text, "text_encoder_2": text_2}
    assert counts == {folder: count for folder, count in wanted.items() if count}


def test_a_controlnet_is_read_as_diffusers_reads_it(tmp_path: Path) -> None:
    shapes = {f"control_model.{key}": shape for key, shape in controlnet(SMALL["sd1"]).items()}
    (found,) = contents(shapes).values()
    state = {key: torch.from_numpy(value) for key, value in drawn(shapes).items()}
    wanted = oracle.convert_controlnet_checkpoint(dict(state), {"layers_per_block": 1})
    checkpoint = Checkpoint([write(tmp_path / "x.safetensors", shapes)], found.names)
    assert found.folder == "controlnet" and checkpoint.names() == sorted(wanted)
    assert all(np.array_equal(checkpoint.load(name), value.numpy()) for name, value in wanted.items())
    (again,) = components_in({name: tuple(value.shape) for name, value in wanted.items()})
    assert again.folder == "controlnet" and again.config == found.config and again.names.keys() == wanted.keys()


def test_the_average_is_taken_on_request() -> None:
    shapes = small("sd1")
    both = shapes | averages(shapes)
    plain, averaged = contents(both)["unet"].names, contents(both, ema=True)["unet"].names
    assert plain.keys() == averaged.keys() and plain == contents(shapes)["unet"].names
    assert averaged["conv_in.weight"].key == "model_ema.diffusion_modelinput_blocks00weight"
    assert all(both[averaged[name].key] == shapes[taken.key] for name, taken in plain.items())


def test_layouts_know_one_another_apart() -> None:
    for shapes in FULL.values():
        assert len(components_in(shapes)) in (3, 4)
        alone = {key.removeprefix(UNET): shape for key, shape in shapes.items() if key.startswith(UNET)}
        assert [each.folder for each in components_in(alone)] == ["unet"]
        alone = {key.removeprefix(VAE): shape for key, shape in shapes.items() if key.startswith(VAE)}
        assert [each.folder for each in components_in(alone)] == ["vae"]
