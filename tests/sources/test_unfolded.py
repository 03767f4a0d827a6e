"""Single files read as folders: what they are, what they say of their training, and one clear line for those that confuse."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sdbuild.errors import SourceError
from sdbuild.recipe.family import every_family, load_family
from sdbuild.sources.file import FileSource
from sdbuild.sources.survey import Family, Wanted, survey
from sdbuild.sources.unfolded import Unfolded, Unfolding
from tests.single_files import (
    SMALL,
    Shapes,
    Sizes,
    averages,
    clip,
    controlnet,
    open_clip,
    sd1,
    sd2,
    sdxl,
    small,
    vae,
    write,
)

FAMILIES = {name: each.recognition for name, each in every_family().items()}


def unfolding(name: str, **said: Any) -> Unfolding:
    family = load_family(name)
    return Unfolding(
        family=name,
        vae_scale=family.vae_scale,
        tokenizers=family.tokenizers,
        pipeline_class=f"{family.recognise.pipelines[0]}Pipeline",
        scheduler_folder=family.scheduler,
        scheduler=family.single_file.scheduler,
        usual_prediction=family.single_file.prediction_type,
        **said,
    )


def look(
    path: Path, name: str, purpose: str = "source", warnings: list[str] | None = None, **said: Any
) -> dict[str, str]:
    """What the first stage finds in a file, for a recipe of a family."""
    warn = ([] if warnings is None else warnings).append
    source = Unfolded(FileSource(path, path.name), purpose, unfolding(name, **said), FAMILIES, warn)
    family = load_family(name)
    models = {
        part: Wanted(each.folder, each.model_class, each.role, each.source)
        for part, each in family.components.items()
        if not each.optional
    }
    checked = Family(
        name,
        family.vae_factor,
        family.vae_scale,
        family.latent_channels,
        family.tokenizers,
        family.scheduler,
        family.tokens,
        {part.folder: part.model_class for part in family.text_encoders.values()},
        6 if name == "sdxl" else 0,
        family.latent_statistics,
    )
    assert purpose == "source"
    return survey(source, {}, models, checked, FAMILIES, False, lambda *step: None, warn)


def refusal(path: Path, name: str, **said: Any) -> str:
    with pytest.raises(SourceError) as failure:
        look(path, name, **said)
    assert "\n" not in str(failure.value)
    return str(failure.value)


def predicted(texts: Mapping[str, str]) -> Any:
    return json.loads(texts["scheduler/scheduler_config.json"])["prediction_type"]


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("sd1", ["CLIPTextModel", "UNet2DConditionModel", "AutoencoderKL"]),
        ("sdxl", ["CLIPTextModel", "CLIPTextModelWithProjection", "UNet2DConditionModel", "AutoencoderKL"]),
    ],
)
def test_a_file_is_read_as_the_folder_that_it_could_be(name: str, classes: list[str], tmp_path: Path) -> None:
    texts = look(write(tmp_path / "x.safetensors", small(name)), name)
    configs = [json.loads(texts[f"components/{part}/config.json"]) for part in load_family(name).default_components]
    assert [each.get("_class_name") or each["architectures"][0] for each in configs] == classes
    assert configs[-1]["scaling_factor"] == load_family(name).vae_scale
    record = json.loads(texts["components/unet/files.json"])
    assert [file["path"] for file in record["files"]] == ["x.safetensors"] and record["commit"] is None
    assert record["names"]["unet"]["conv_in.weight"] == {"key": "model.diffusion_model.input_blocks.0.0.weight"}
    assert predicted(texts) == "epsilon"
    vocabulary = json.loads(texts["tokenizer/vocab.json"])
    assert len(vocabulary) == 49408 and vocabulary["photo</w>"] == 1125 and vocabulary["<|endoftext|>"] == 49407
    assert texts["tokenizer/merges.txt"].startswith("#version: 0.2\ni n\nt h\na n\n")


@pytest.mark.parametrize(
    ("name", "metadata", "marks", "said", "wanted"),
    [
        ("sd2", {}, {}, {"prediction_type": "v_prediction"}, "v_prediction"),
        ("sd2", {}, {}, {"prediction_type": "epsilon"}, "epsilon"),
        ("sd2", {"modelspec.architecture": "stable-diffusion-v2-768-v"}, {}, {}, "v_prediction"),
        ("sd2", {"modelspec.architecture": "stable-diffusion-v2-512"}, {}, {}, "epsilon"),
        ("sd2", {"modelspec.prediction_type": "v"}, {}, {}, "v_prediction"),
        ("sd2", {}, {"v_pred": (0,)}, {}, "v_prediction"),
        ("sdxl", {}, {}, {}, "epsilon"),
        ("sdxl", {}, {"v_pred": (0,)}, {}, "v_prediction"),
        ("sdxl", {}, {}, {"prediction_type": "v_prediction"}, "v_prediction"),
        ("sd1", {"ss_v_parameterization": "True"}, {}, {}, "v_prediction"),
    ],
)
def test_what_the_unet_predicts(
    name: str, metadata: dict[str, str], marks: Shapes, said: dict[str, str], wanted: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "x.safetensors", small(name) | marks, metadata)
    assert predicted(look(path, name, **said)) == wanted


def test_it_is_asked_for_where_nothing_says_it(tmp_path: Path) -> None:
    path = write(tmp_path / "x.safetensors", small("sd2"))
    assert "write `prediction_type: epsilon`" in refusal(path, "sd2")
    path = write(tmp_path / "v.safetensors", small("sdxl") | {"v_pred": (0,)})
    assert "by the mark v_pred in it, and the recipe says `prediction_type: epsilon`: remove that key" in refusal(
        path, "sdxl", prediction_type="epsilon"
    )


def test_a_schedule_that_ends_in_noise(tmp_path: Path) -> None:
    marked = write(tmp_path / "x.safetensors", small("sdxl") | {"v_pred": (0,), "ztsnr": (0,)})
    plain = write(tmp_path / "y.safetensors", small("sd1"))
    for texts, kind in (
        (look(marked, "sdxl"), "EulerDiscreteScheduler"),
        (look(plain, "sd1", zero_terminal_snr=True), "DDIMScheduler"),
    ):
        schedule = json.loads(texts["scheduler/scheduler_config.json"])
        assert schedule["rescale_betas_zero_snr"] is True and schedule["timestep_spacing"] == "trailing"
        assert schedule["_class_name"] == kind
    assert "by the mark ztsnr in it" in refusal(marked, "sdxl", zero_terminal_snr=False)


def test_the_average_is_offered_and_never_taken_unasked(tmp_path: Path) -> None:
    path = write(tmp_path / "x.safetensors", small("sd1") | averages(small("sd1")))
    warnings: list[str] = []
    for ema, key in ((None, "model.diffusion_model.out.2.weight"), (True, "model_ema.diffusion_modelout2weight")):
        record = json.loads(look(path, "sd1", warnings=warnings, ema=ema)["components/unet/files.json"])
        assert record["names"]["unet"]["conv_out.weight"]["key"] == key
    assert [warning for warning in warnings if "(EMA)" in warning] == warnings[:1]
    plain = write(tmp_path / "y.safetensors", small("sd1"))
    assert "there is no average of the weights (EMA) in it" in refusal(plain, "sd1", ema=True)


def test_an_average_alone_is_read_as_the_model(tmp_path: Path) -> None:
    shapes = small("sd1")
    others = {key: shape for key, shape in shapes.items() if not key.startswith("model.diffusion_model.")}
    path = write(tmp_path / "x.safetensors", others | averages(shapes))
    record = json.loads(look(path, "sd1", ema=True)["components/unet/files.json"])["names"]
    assert record["unet"]["conv_out.weight"]["key"] == "model_ema.diffusion_modelout2weight" and "vae" in record
    for ema in (None, False):
        assert "write `ema: true` under `model:` for that" in refusal(path, "sd1", ema=ema)


def test_a_controlnet_beside_the_model_is_not_dropped_in_silence(tmp_path: Path) -> None:
    warnings: list[str] = []
    path = write(tmp_path / "x.safetensors", small("sd1") | CONTROL)
    assert "unet" in json.loads(look(path, "sd1", warnings=warnings)["components/unet/files.json"])["names"]
    assert "there is a ControlNet in the file as well, which is not built" in warnings[0]


def test_metadata_becomes_the_card(tmp_path: Path) -> None:
    about = {"modelspec.author": "A. Painter", "modelspec.license": "openrail++"}
    texts = look(write(tmp_path / "x.safetensors", small("sd1"), about), "sd1")
    assert json.loads(texts["components/unet/card.json"]) == {"author": "A. Painter", "license": "openrail++"}


def test_variants_of_names(tmp_path: Path) -> None:
    """Without `text_model`, as some merges have it; in diffusers' names side by side."""
    bare = {key.replace("transformer.text_model.", "transformer."): shape for key, shape in small("sd1").items()}
    assert (
        "text_encoder"
        in json.loads(look(write(tmp_path / "x.safetensors", bare), "sd1")["components/unet/files.json"])["names"]
    )


def without(shapes: Shapes, *starts: str) -> Shapes:
    return {key: shape for key, shape in shapes.items() if not key.startswith(starts)}


def only(shapes: Shapes, start: str) -> Shapes:
    return {key: shape for key, shape in shapes.items() if key.startswith(start)}


_SIZES = SMALL["sd1"]
LORA = {"lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight": (4, 8)}
CONTROL = {f"control_model.{key}": shape for key, shape in controlnet(replace(_SIZES, attends=768)).items()}
CONFUSING: dict[str, tuple[Shapes, str, str]] = {
    "a LoRA": (
        LORA,
        "sd1",
        "it is a LoRA, which changes a model and is none; name the model here, and this file under",
    ),
    "a LyCORIS": ({"lora_unet_x.hada_w1_a": (4, 4)}, "sd1", "it is a LoRA"),
    "an embedding of XL": ({"clip_l": (4, 768), "clip_g": (4, 1280)}, "sdxl", "it is an embedding (textual inversion)"),
    "an embedding": ({"emb_params": (4, 768)}, "sd1", "under `model.embeddings:`"),
    "an embedding of diffusers": ({"<style>": (768,)}, "sd1", "it is an embedding"),
    "a VAE alone": (
        vae((32, 32, 64, 64)),
        "sd1",
        "it is a VAE alone; name a model with a UNet here, and this file under",
    ),
    "a VAE in a checkpoint's names": (only(small("sd1"), "first_stage_model."), "sd1", "it is a VAE alone"),
    "a text encoder alone": (clip(64, 2, 1000), "sd1", "it is a text encoder alone"),
    "OpenCLIP alone": (open_clip(64, 2, 1000, 64), "sdxl", "it is a text encoder alone"),
    "a ControlNet": (CONTROL, "sd1", "a ControlNet for Stable Diffusion 1.x, which guides a model and is none"),
    "a ControlNet of diffusers": (
        {"controlnet_down_blocks.0.weight": (4, 4, 1, 1), "controlnet_mid_block.weight": (4, 4, 1, 1)},
        "sd1",
        "it is a ControlNet, which guides",
    ),
    "a refiner in a base recipe": (small("refiner"), "sdxl", "a refiner of Stable Diffusion XL"),
    "XL in a recipe of 1.x": (small("sdxl"), "sd1", "write `pipeline: sdxl`"),
    "1.x in a recipe of XL": (small("sd1"), "sdxl", "it takes no image sizes besides the prompt"),
    "2.x in a recipe of XL": (small("sd2"), "sdxl", "it takes no image sizes besides the prompt"),
    "an inpainting file": (sd1(replace(_SIZES, takes=9)), "sd1", "an inpainting model: its UNet takes 9 channels"),
    "an inpainting file of XL": (sdxl(replace(SMALL["sdxl"], takes=9)), "sdxl", "an inpainting model"),
    "an editing file": (sd1(replace(_SIZES, takes=8)), "sd1", "an image-editing model: its UNet takes 8 channels"),
    "a depth file": (
        sd2(replace(SMALL["sd2"], takes=5)) | {"depth_model.model.pretrained.model.cls_token": (1, 1, 8)},
        "sd2",
        "a depth-to-image model",
    ),
    "without a VAE": (
        without(small("sd1"), "first_stage_model."),
        "sd1",
        "no VAE in the file; name one under `model.vae:`",
    ),
    "without a text encoder": (without(small("sd1"), "cond_stage_model."), "sd1", "under `model.text_encoder:`"),
    "without the second one": (without(small("sdxl"), "conditioner.embedders.1."), "sdxl", "`model.text_encoder_2:`"),
    "half a UNet": (
        without(small("sd1"), "model.diffusion_model.output_blocks", "first", "cond"),
        "sd1",
        "it has only a part of a UNet",
    ),
    "Flux": ({"double_blocks.0.img_attn.qkv.weight": (4, 4)}, "sdxl", "with a transformer for a UNet"),
    "Stable Diffusion 3": (
        {"model.diffusion_model.joint_blocks.0.x.weight": (4, 4)},
        "sdxl",
        "Stable Diffusion 3 or Flux",
    ),
    "an upscaler": ({"body.0.rdb1.conv1.weight": (4, 4, 3, 3)}, "sd1", "enlarges images"),
    "an IP-Adapter": ({"image_proj.proj.weight": (4, 4)}, "sd1", "an IP-Adapter"),
    "a motion module": ({"down_blocks.0.motion_modules.0.x.weight": (4, 4)}, "sd1", "motion modules of a video model"),
    "a tiny VAE": ({"decoder.layers.0.weight": (4, 4, 3, 3)}, "sd1", "a tiny VAE (TAESD)"),
    "an average alone": (
        only(averages(small("sd1")), "model_ema."),
        "sd1",
        "of the UNet it has the average that training kept (EMA) alone; write `ema: true` under `model:` for that",
    ),
    "something else": ({"a.weight": (4,), "b.weight": (4,)}, "sd1", "are of no model that is known"),
    "a LoRA beside the model": (small("sd1") | LORA, "sd1", "LoRA or other adapter weights that were not merged"),
    "a playground model": (small("sdxl") | {"edm_mean": (4,)}, "sdxl", "marks of sampling as EDM has it"),
    "more than a model": (small("sd1") | {"extra.weight": (4,)}, "sd1", "no component of Stable Diffusion takes it"),
    "two VAEs": (
        small("sd1") | {f"vae.{key}": shape for key, shape in vae((32, 32)).items()},
        "sd1",
        "two components for vae",
    ),
}


@pytest.mark.parametrize("what", CONFUSING)
def test_confusing_files_get_one_clear_line(what: str, tmp_path: Path) -> None:
    shapes, name, words = CONFUSING[what]
    message = refusal(write(tmp_path / "x.safetensors", shapes), name, prediction_type="epsilon")
    assert words in message and message.startswith("x.safetensors: "), message


def test_1x_and_2x_are_told_apart_at_their_real_widths(tmp_path: Path) -> None:
    """By the width of what the UNet attends to, so with real widths there."""
    of_1 = sd1(replace(_SIZES, attends=768))
    of_2 = sd2(replace(SMALL["sd2"], attends=1024))
    assert "write `pipeline: sd2`" in refusal(write(tmp_path / "2.safetensors", of_2), "sd1")
    assert "write `pipeline: sd1`" in refusal(write(tmp_path / "1.safetensors", of_1), "sd2")


def test_half_a_file_is_damaged(tmp_path: Path) -> None:
    path = write(tmp_path / "x.safetensors", small("sd1"))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "its end is missing" in refusal(path, "sd1")


_ONE = {
    "the UNet's": ("model.diffusion_model.middle_block.1.transformer_blocks.0.ff.net.2.bias", "UNet lacks 1 of"),
    "the VAE's": ("first_stage_model.decoder.up.1.block.1.norm2.weight", "VAE lacks 1 of"),
    "the text encoder's": (
        "cond_stage_model.transformer.text_model.encoder.layers.0.mlp.fc2.weight",
        "text encoder lacks 1 of 36 tensors: text_model.encoder.layers.0.mlp.fc2.weight",
    ),
}


@pytest.mark.parametrize("whose", _ONE)
def test_a_tensor_that_is_missing_is_named_and_counted(whose: str, tmp_path: Path) -> None:
    key, words = _ONE[whose]
    shapes = {name: shape for name, shape in small("sd1").items() if name != key}
    assert f"x.safetensors: its {words}" in refusal(write(tmp_path / "x.safetensors", shapes), "sd1")


def test_tensors_that_no_model_takes_are_named_and_counted(tmp_path: Path) -> None:
    place = "model.diffusion_model.middle_block.1.transformer_blocks.0"
    more = small("sd1") | {f"{place}.gate.weight": (4,), f"{place}.gate.bias": (4,)}
    assert "its UNet has 2 tensors more than one of its sizes takes: mid_block.attentions.0.trans" in refusal(
        write(tmp_path / "x.safetensors", more), "sd1"
    )
    normed = small("sd1") | {f"{place}.attn1.norm_q.weight": (4,)}
    assert "norms of queries and keys" in refusal(write(tmp_path / "x.safetensors", normed), "sd1")


def test_heads_that_shapes_do_not_tell_are_asked_for(tmp_path: Path) -> None:
    odd = sd2(Sizes((96, 96), (1, 1), 1, 1, 128, linear=True, vae=(32, 32), width=128, text_layers=2))
    assert "which don't tell the number of attention's heads; name a model" in refusal(
        write(tmp_path / "x.safetensors", odd), "sd2"
    )
