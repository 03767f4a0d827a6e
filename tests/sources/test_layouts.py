"""Layouts of single files: every weight is that which diffusers' own converter finds, and the configuration fits."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from sdbuild.modeling.checkpoint import Checkpoint, weight_files
from sdbuild.sources.averages import average_of, averages_alone
from sdbuild.sources.layouts import components_in
from sdbuild.sources.layouts.base import Component
from sdbuild.sources.parameters import parameters_of
from sdbuild.sources.single import read_contents
from tests.single_files import (
    MAKERS,
    REFINER,
    SD1,
    SD2,
    SDXL,
    SMALL,
    Shapes,
    averages,
    clip,
    controlnet,
    of_kohya,
    open_clip,
    sd1,
    sd2,
    sdxl,
    small,
    unet,
    vae,
    write,
)

UNET, VAE = "model.diffusion_model.", "first_stage_model."


def prefixed(prefix: str, shapes: Shapes) -> Shapes:
    return {f"{prefix}{key}": shape for key, shape in shapes.items()}


def behind(prefix: str, shapes: Shapes) -> Shapes:
    return {key.removeprefix(prefix): shape for key, shape in shapes.items() if key.startswith(prefix)}


def tiny(family: str, takes: int = 4) -> Shapes:
    """A small file of a family, with few words."""
    return MAKERS[family](replace(SMALL[family], vocabulary=300, takes=takes))


def contents(shapes: Shapes, **options: Any) -> dict[str, Component]:
    return read_contents("x", {key: ("F16", shape) for key, shape in shapes.items()}, {}, **options).components


PIPELINES: dict[str, tuple[str, Shapes]] = {
    "sd1": ("StableDiffusionPipeline", tiny("sd1")),
    "sd1 for inpainting": ("StableDiffusionInpaintPipeline", tiny("sd1", takes=9)),
    "sd1 for editing": ("StableDiffusionInstructPix2PixPipeline", tiny("sd1", takes=8)),
    "sd1 of kohya": ("StableDiffusionPipeline", of_kohya(tiny("sd1"))),
    "sd2": ("StableDiffusionPipeline", tiny("sd2")),
    "sd2 for inpainting": ("StableDiffusionInpaintPipeline", tiny("sd2", takes=9)),
    "sd2 of kohya": ("StableDiffusionPipeline", of_kohya(tiny("sd2"))),
    "sdxl": ("StableDiffusionXLPipeline", tiny("sdxl")),
    "sdxl of kohya": ("StableDiffusionXLPipeline", of_kohya(tiny("sdxl"))),
    "refiner": ("StableDiffusionXLImg2ImgPipeline", tiny("refiner")),
}
"""Pipelines of diffusers, and files as each is published; of 2.x, those that predict noise and v have the same names."""


def configurations(folder: Path, found: Mapping[str, Component], pipeline: str) -> str:
    """A model without weights, for diffusers to take its configurations from; without them it asks the hub."""
    index: dict[str, Any] = {"_class_name": pipeline, "scheduler": ["diffusers", "DDIMScheduler"]}
    size = {"sample_size": 64}  # that of inpainting wants to know
    for name, component in found.items():
        kind = component.config.get("_class_name") or component.config["architectures"][0]
        index[name] = ["transformers" if name.startswith("text") else "diffusers", kind]
        (folder / name).mkdir(parents=True)
        (folder / name / "config.json").write_text(json.dumps(component.config | size))
    (folder / "scheduler").mkdir()
    (folder / "scheduler/scheduler_config.json").write_text(json.dumps({"_class_name": "DDIMScheduler"}))
    (folder / "model_index.json").write_text(json.dumps(index))
    return str(folder)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")  # of pipelines without their safety checker
@pytest.mark.parametrize("what", PIPELINES)
def test_weights_are_those_of_the_folder_that_diffusers_makes_of_the_file(what: str, tmp_path: Path) -> None:
    pipeline, shapes = PIPELINES[what]
    path, found = write(tmp_path / "x.safetensors", shapes), contents(shapes)
    assert list(found) == FOLDERS[what.partition(" ")[0]]
    kind = getattr(diffusers, pipeline)
    expected, _ = kind._get_signature_keys(kind)
    without = dict.fromkeys({*expected} - {*found, "scheduler"})
    configs = configurations(tmp_path / "configs", found, pipeline)
    made = kind.from_single_file(str(path), config=configs, local_files_only=True, torch_dtype=torch.float16, **without)
    made.save_pretrained(tmp_path / "folder")
    for folder, component in found.items():
        ours, theirs = Checkpoint([path], component.names), Checkpoint(weight_files(tmp_path / "folder" / folder))
        assert len(theirs.names()) == len(component.names)
        for name in component.names:
            wanted, read = theirs.load(name), ours.load(name)
            assert read.dtype == np.float16 and read.flags.c_contiguous and ours.shape(name) == read.shape
            np.testing.assert_array_equal(read.reshape(wanted.shape), wanted, err_msg=f"{folder}: {name}")


def in_diffusers_names(shapes: Shapes) -> Shapes:
    """The one component of a file as diffusers saves it: the attention of a VAE has linear layers there."""
    (component,) = contents(shapes).values()
    named = {name: taken.shape(shapes[taken.key]) for name, taken in component.names.items()}
    linear = re.compile(r"(en|de)coder\.mid_block\.attentions\..+weight")
    return {name: shape[:2] if linear.fullmatch(name) else shape for name, shape in named.items()}


_VAE_ALONE, _UNET_ALONE, _CONTROL = vae((32, 64, 64)), prefixed(UNET, unet(SMALL["sdxl"])), controlnet(SMALL["sd1"])
ALONE: dict[str, tuple[str, Shapes]] = {
    "a VAE": ("AutoencoderKL", _VAE_ALONE),
    "a VAE as in a whole model": ("AutoencoderKL", prefixed(VAE, _VAE_ALONE)),
    "a VAE of diffusers": ("AutoencoderKL", in_diffusers_names(_VAE_ALONE)),
    "a UNet": ("UNet2DConditionModel", _UNET_ALONE),
    "a UNet of diffusers": ("UNet2DConditionModel", in_diffusers_names(_UNET_ALONE)),
    "a ControlNet": ("ControlNetModel", _CONTROL),
    "a ControlNet as first published": ("ControlNetModel", prefixed("control_model.", _CONTROL)),
    "a ControlNet of diffusers": ("ControlNetModel", in_diffusers_names(_CONTROL)),
    "the average of a UNet": ("UNet2DConditionModel", _UNET_ALONE | averages(_UNET_ALONE)),
}
_CONTROL_CONFIG = {  # of which a file is recognised, and not yet built
    "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    "layers_per_block": 1,
    "conditioning_embedding_out_channels": [16, 32, 96, 256],
}


@pytest.mark.parametrize("what", ALONE)
def test_a_network_alone_is_read_as_diffusers_reads_it(what: str, tmp_path: Path) -> None:
    kind, shapes = ALONE[what]
    average = {"extract_ema": True} if "average" in what else {}
    path = write(tmp_path / "x.safetensors", shapes)
    (component,) = contents(shapes, ema=bool(average)).values()
    own = _CONTROL_CONFIG if kind == "ControlNetModel" else {}
    (tmp_path / "config.json").write_text(json.dumps(component.config | own))
    model = getattr(diffusers, kind).from_single_file(
        str(path), config=str(tmp_path), local_files_only=True, torch_dtype=torch.float16, **average
    )
    ours, theirs = Checkpoint([path], component.names), model.state_dict()
    assert ours.names() == sorted(theirs)
    for name, tensor in theirs.items():
        np.testing.assert_array_equal(ours.load(name).reshape(tensor.shape), tensor.numpy(), err_msg=name)


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


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl", "refiner"])
@pytest.mark.parametrize("sizes", ["full", "small"])
def test_parameters_are_those_of_the_libraries_models(family: str, sizes: str) -> None:
    shapes = FULL[family] if sizes == "full" else tiny(family)
    for component in contents(shapes).values():
        wanted = {name for name, _ in module(component.config).named_parameters()}
        if component.folder.startswith("text"):  # with a level more or less, by the version of transformers
            wanted = {
                name if "projection" in name[:15] else f"text_model.{name.removeprefix('text_model.')}"
                for name in wanted
            }
        assert parameters_of(component.config) == wanted


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


KEY_LISTS: dict[str, tuple[Shapes, int, str]] = {
    "UNET-v1-SD": (unet(SD1), 686, "b0828585f6719ebf"),
    "UNET-v1-Inpainting": (unet(replace(SD1, takes=9)), 686, "8d32db57e6073b0c"),
    "UNET-v1-Pix2Pix": (unet(replace(SD1, takes=8)), 686, "aab3c203e038f1bc"),
    "UNET-v1-EMA": (behind("model_ema.diffusion_model", averages(prefixed(UNET, unet(SD1)))), 686, "93c20879e38ff417"),
    "UNET-v2-SD": (unet(SD2), 686, "c8627f6484f9e606"),
    "UNET-v2-Inpainting": (unet(replace(SD2, takes=9)), 686, "99b3aa7fd349b9ff"),
    "UNET-v2-Depth": (unet(replace(SD2, takes=5)), 686, "cc2466cba53797c2"),
    "UNET-XL-SD": (unet(SDXL), 1680, "b968733410df414e"),
    "UNET-XL-Refiner": (unet(REFINER), 1220, "1a18064602a01a9b"),
    "VAE-v1-SD": (vae(SD1.vae), 248, "5c5821b036193b0e"),
    "CLIP-v1-SD": (clip(768, 12, 49408, level=""), 197, "e9ac162255ab75b2"),
    "CLIP-v2-SD": (open_clip(1024, 24, 49408, 1024), 294, "cc1dcd8205bd26c3"),
    "CLIP-v2-WD": (behind("cond_stage_model.model.", of_kohya(sd2(SD2))), 280, "ad2aa65b2f8e8818"),
    "CLIP-XL-SD": (open_clip(1280, 32, 49408, 1280), 390, "8b1a61a5945e67de"),
    "ControlNet-v1-SD": (controlnet(SD1), 340, "1bd98820cec8f899"),
}
"""Tensors of the published files, part for part: how many there are, and the SHA-256 (its beginning) of the sorted lines
``name [sides]``, as arenasys/stable-diffusion-webui-model-toolkit lists them in ``components/`` (commit e19dd46e)."""


@pytest.mark.parametrize("part", KEY_LISTS)
def test_files_have_the_names_and_shapes_of_the_published_ones(part: str) -> None:
    shapes, count, digest = KEY_LISTS[part]
    lines = [f"{name} {list(shape)}" for name, shape in sorted(shapes.items())]
    assert len(lines) == count
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest().startswith(digest)


@pytest.mark.parametrize(
    ("family", "tables", "keys", "unused"),
    [
        ("sd1", 12, 686 + 248 + 197, 1),
        ("sd2", 12, 686 + 248 + 294, 14),
        ("sdxl", 1, 1680 + 248 + 197 + 390, 2),
        ("refiner", 1, 1220 + 248 + 390, 1),
    ],
)
def test_every_published_weight_is_some_components(family: str, tables: int, keys: int, unused: int) -> None:
    """But for numbers of positions, CLIP's scale and, of 2.x, the projection and the last layer."""
    shapes = FULL[family]
    assert len(shapes) == tables + keys
    used = {taken.key for component in contents(shapes).values() for taken in component.names.values()}
    assert len(used) == keys - unused


def test_a_controlnet_is_the_same_in_both_namings() -> None:
    ((ldm,), (own,)) = (contents(shapes).values() for shapes in (_CONTROL, in_diffusers_names(_CONTROL)))
    assert own.folder == "controlnet" and own.config == ldm.config and own.names.keys() == ldm.names.keys()


def test_the_average_is_taken_on_request() -> None:
    shapes = small("sd1")
    both = shapes | averages(shapes)
    plain, averaged = contents(both)["unet"].names, contents(both, ema=True)["unet"].names
    assert plain.keys() == averaged.keys() and plain == contents(shapes)["unet"].names
    assert averaged["conv_in.weight"].key == "model_ema.diffusion_modelinput_blocks00weight"
    assert all(both[averaged[name].key] == shapes[taken.key] for name, taken in plain.items())


@pytest.mark.parametrize("family", FULL)
def test_an_average_alone_gets_its_points_back(family: str) -> None:
    weights = prefixed(UNET, behind(UNET, FULL[family]))
    names = averages_alone(averages(weights))
    assert names == {key: average_of(key) for key in weights}
    alone, beside = contents(averages(weights), ema=True), contents(weights | averages(weights), ema=True)
    assert alone == beside and list(alone) == ["unet"]


def test_layouts_know_one_another_apart() -> None:
    for shapes in FULL.values():
        assert len(components_in(shapes)) in (3, 4)
        alone = {key.removeprefix(UNET): shape for key, shape in shapes.items() if key.startswith(UNET)}
        assert [each.folder for each in components_in(alone)] == ["unet"]
        alone = {key.removeprefix(VAE): shape for key, shape in shapes.items() if key.startswith(VAE)}
        assert [each.folder for each in components_in(alone)] == ["vae"]
