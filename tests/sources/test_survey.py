"""What is told from a pipeline's small files: its canonical configurations, its weight files, and what does not fit."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sdbuild.recipe.family import every_family
from sdbuild.sources import SourceError
from sdbuild.sources.checks import check_resolution
from sdbuild.sources.client import HubClient
from sdbuild.sources.hub import HubSource
from sdbuild.sources.local import LocalSource
from sdbuild.sources.survey import Family, Wanted, survey
from tests.sources.hub_server import HubServer, sha256
from tests.sources.make_models import MERGES, VOCABULARY, as_json, checked, sd1, sdxl, weights, write

NAME = "someone/small"
STEM = "diffusion_pytorch_model"

TEXT, UNET = Wanted("text_encoder", "CLIPTextModel", "text_encoder"), Wanted("unet", "UNet2DConditionModel", "denoiser")
TEXT_2 = Wanted("text_encoder_2", "CLIPTextModelWithProjection", "text_encoder")
VAE = Wanted("vae", "AutoencoderKL", "decoder", "vae")
ENCODERS = {"text_encoder": "CLIPTextModel", "text_encoder_2": "CLIPTextModelWithProjection"}
SD1 = Family("sd1", 8, 0.18215, 4, ("tokenizer",), "scheduler", 77, {"text_encoder": "CLIPTextModel"})
SD2 = Family("sd2", 8, 0.18215, 4, ("tokenizer",), "scheduler", 77, {"text_encoder": "CLIPTextModel"})
SDXL = Family("sdxl", 8, 0.13025, 4, ("tokenizer", "tokenizer_2"), "scheduler", 77, ENCODERS, 6, True)
FAMILIES = {name: family.recognition for name, family in every_family().items()}

POOLED = {"addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": 6 * 8 + 48}


def named(*models: Wanted) -> dict[str, Wanted]:
    """By name, which here is that of the folder."""
    return {each.folder: each for each in models}


def look(files: Mapping[str, bytes], folder: Path, family: Family = SD1, vae: Path | None = None) -> dict[str, str]:
    """The survey of a local folder, named ``model`` in messages."""
    models = [TEXT, TEXT_2, UNET, VAE] if family is SDXL else [TEXT, UNET, VAE]
    others = {"vae": LocalSource(vae, "other-vae")} if vae is not None else {}
    return survey(
        LocalSource(write(files, folder), "model"),
        others,
        named(*models),
        family,
        FAMILIES,
        False,
        lambda done, total: None,
    )


def refusal(files: Mapping[str, bytes], folder: Path, family: Family = SD1, vae: Path | None = None) -> str:
    with pytest.raises(SourceError) as failure:
        look(files, folder, family, vae)
    assert "\n" not in str(failure.value)
    return str(failure.value)


def test_a_pipeline_of_the_hub(hub: HubServer, client: HubClient) -> None:
    files = sd1() | {
        f"unet/{STEM}.fp16.safetensors": weights(5),
        f"unet/{STEM}.bin": b"",
        "safety_checker/config.json": b"{}",
    }
    commit = hub.add(NAME, files)
    steps: list[tuple[int, int]] = []
    texts = survey(
        HubSource(NAME, None, client),
        {},
        named(TEXT, UNET, VAE),
        SD1,
        FAMILIES,
        False,
        lambda *step: steps.append(step),
    )
    assert sorted(texts) == [
        "components/text_encoder/card.json",
        "components/text_encoder/config.json",
        "components/text_encoder/files.json",
        "components/unet/card.json",
        "components/unet/config.json",
        "components/unet/files.json",
        "components/vae/card.json",
        "components/vae/config.json",
        "components/vae/files.json",
        "model_index.json",
        "notes.json",
        "scheduler/scheduler_config.json",
        "tokenizer/merges.txt",
        "tokenizer/vocab.json",
    ]
    path = f"unet/{STEM}.fp16.safetensors"
    chosen = {"path": path, "sha256": sha256(files[path]), "size": len(files[path])}
    assert json.loads(texts["components/unet/files.json"]) == {"commit": commit, "files": [chosen]}
    assert (json.loads(texts["tokenizer/vocab.json"]), texts["tokenizer/merges.txt"]) == (VOCABULARY, MERGES)
    assert steps == sorted(steps)
    assert steps[-1][0] == steps[-1][1]
    # One listing, and each small file and beginning of weights once: nothing that is not needed.
    small = ["model_index.json", "unet/config.json", "text_encoder/config.json", "vae/config.json"]
    small += ["scheduler/scheduler_config.json", "tokenizer/vocab.json", "tokenizer/merges.txt", "README.md"]
    listing, *others = hub.asked("hub")
    assert listing == f"/api/models/{NAME}/revision/main"
    large = ["text_encoder/model.safetensors", path, f"vae/{STEM}.safetensors"]
    assert sorted(others) == sorted(f"/{NAME}/resolve/{commit}/{path}" for path in (*small, *large))
    assert sorted(hub.asked("cdn")) == large


def test_configurations_are_canonical(tmp_path: Path) -> None:
    texts = look(sd1(text_encoder={"dtype": "float16", "use_cache": True, "_saved": {"b": 1}}), tmp_path)
    assert json.loads(texts["components/text_encoder/config.json"]) == {
        "architectures": ["CLIPTextModel"],
        "hidden_size": 32,
        "vocab_size": 6,
    }
    assert texts["components/text_encoder/config.json"].startswith('{\n  "architectures": [\n')
    assert texts["components/text_encoder/config.json"].endswith("}\n")
    assert "_diffusers_version" not in texts["components/unet/config.json"] + texts["model_index.json"]


def test_a_fine_tune_saved_by_another_version_has_the_same_configurations(tmp_path: Path) -> None:
    base, tune = sd1(), sd1(unet={"_diffusers_version": "0.42.0", "_name_or_path": "elsewhere"})
    config = json.loads(tune["unet/config.json"])
    tune["unet/config.json"] = json.dumps(dict(reversed(config.items()))).encode()
    assert base["unet/config.json"] != tune["unet/config.json"]
    one, other = (look(files, tmp_path / name) for name, files in (("base", base), ("tune", tune)))
    assert one["components/unet/config.json"] == other["components/unet/config.json"]


def test_a_pipeline_with_two_text_encoders(tmp_path: Path) -> None:
    texts = look(sdxl(), tmp_path, SDXL)
    assert {
        "components/text_encoder_2/config.json",
        "components/text_encoder_2/files.json",
        "tokenizer_2/merges.txt",
    } <= texts.keys()


@pytest.mark.parametrize("form", ["single model", "pipeline"])
def test_another_vae(tmp_path: Path, form: str) -> None:
    pipeline, other = sd1(), sd1(vae={"norm_num_groups": 7})
    del pipeline["vae/config.json"], pipeline[f"vae/{STEM}.safetensors"]  # not needed
    if form == "single model":
        other = {path.removeprefix("vae/"): body for path, body in other.items() if path.startswith("vae/")}
    texts = look(pipeline, tmp_path / "pipeline", vae=write(other, tmp_path / "vae"))
    assert json.loads(texts["components/vae/config.json"])["norm_num_groups"] == 7
    prefix = "vae/" if form == "pipeline" else ""
    assert json.loads(texts["components/vae/files.json"])["files"][0]["path"] == f"{prefix}{STEM}.safetensors"


def test_only_the_models_asked_for_must_be_there(tmp_path: Path) -> None:
    files = {path: body for path, body in sdxl().items() if not path.startswith(("vae/", "text_encoder"))}
    source = LocalSource(write(files, tmp_path), "model")
    texts = survey(source, {}, named(UNET), SDXL, FAMILIES, False, lambda done, total: None)
    assert "components/unet/files.json" in texts


@pytest.mark.parametrize(
    ("files", "family", "expected"),
    [
        (
            sdxl(),
            SD1,
            "the UNet is one of Stable Diffusion XL (it takes image sizes besides the prompt), but the recipe says "
            "`pipeline: sd1`; write `pipeline: sdxl`",
        ),
        (
            sd1(unet={"cross_attention_dim": 768}),
            SDXL,
            "the UNet is one of Stable Diffusion 1.x (it attends to 768 numbers a token), but the recipe says "
            "`pipeline: sdxl`; write `pipeline: sd1`",
        ),
        (
            sd1(unet={"cross_attention_dim": 1024}),
            SD1,
            "the UNet is one of Stable Diffusion 2.x (it attends to 1024 numbers a token), but the recipe says "
            "`pipeline: sd1`; write `pipeline: sd2`",
        ),
        (
            sd1(unet={"cross_attention_dim": 768}),
            SD2,
            "the UNet is one of Stable Diffusion 1.x (it attends to 768 numbers a token), but the recipe says "
            "`pipeline: sd2`; write `pipeline: sd1`",
        ),
        (
            sd1(),
            SDXL,
            "the UNet is not one of Stable Diffusion XL (it takes no image sizes besides the prompt), but the recipe says "
            "`pipeline: sdxl`; write `pipeline: sd1` or `pipeline: sd2`",
        ),
        (
            sd1(index={"_class_name": "StableDiffusionXLPipeline"}),
            SD1,
            "model_index.json names StableDiffusionXLPipeline, but the recipe says `pipeline: sd1`; write `pipeline: sdxl`",
        ),
        (
            sd1(unet={"in_channels": 9}),
            SD1,
            "an inpainting model: its UNet takes 9 channels, five of them the mask and the image under it; only "
            "text-to-image models can be built: name one",
        ),
        (
            sd1(index={"_class_name": "StableDiffusionInpaintPipeline"}),
            SD1,
            "an inpainting model: model_index.json names StableDiffusionInpaintPipeline; only text-to-image models can be "
            "built: name one",
        ),
        (
            sd1(unet={"in_channels": 8}),
            SD1,
            "an image-editing model: its UNet takes 8 channels, half of them the image to edit; only text-to-image models "
            "can be built: name one",
        ),
        (
            sd1(unet={"in_channels": 16, "out_channels": 16}),
            SD1,
            "the UNet takes 16 channels, and latent images of `pipeline: sd1` have 4; name a text-to-image model of that "
            "pipeline",
        ),
        (
            sd1(unet={"timestep_post_act": "silu", "up_block_types": ["UpBlock2D", "SimpleCrossAttnUpBlock2D"]}),
            SD1,
            "the UNet is of a kind that can't be built (its config.json has SimpleCrossAttnUpBlock2D, timestep_post_act: "
            "silu); name a text-to-image model of `pipeline: sd1`",
        ),
        (
            sdxl(unet={"time_cond_proj_dim": 256}),
            SDXL,
            "the UNet takes the guidance scale as an input (its config.json has time_cond_proj_dim: 256), and apps give none; "
            "write `guidance_embedding: 8` under `model:` to build one in, counted as diffusers' guidance_scale",
        ),
        (
            sdxl(vae={"latents_mean": [0.1, 0, 0, 0], "latents_std": [1, 2, 1, 1]}),
            SDXL,
            "the VAE has a mean and a scale for each channel of its latent images (latents_mean and latents_std in its "
            "config.json), and apps have one scale for all; name a model without them",
        ),
        (
            sd1(index={"_class_name": "FluxPipeline"}),
            SD1,
            "model_index.json names FluxPipeline, which can't be built; name a model of one of the pipelines sd1, sd2, sdxl",
        ),
        (
            sd1(index={"_class_name": None}),
            SD1,
            "model_index.json names no class, which can't be built; name a model of one of the pipelines sd1, sd2, sdxl",
        ),
        (
            sd1(index={"_class_name": "StableDiffusion3Pipeline"}),
            SD1,
            "model_index.json names StableDiffusion3Pipeline, which can't be built; name a model of one of the pipelines "
            "sd1, sd2, sdxl",
        ),
        (
            sd1(vae={"_class_name": "AutoencoderTiny"}),
            SD1,
            "vae/config.json names AutoencoderTiny, and the recipe's pipeline takes AutoencoderKL there; name another "
            "source, or the pipeline that this one is of",
        ),
        (
            sd1(text_encoder={"architectures": None}),
            SD1,
            "text_encoder/config.json names no class, and the recipe's pipeline takes CLIPTextModel there; name another "
            "source, or the pipeline that this one is of",
        ),
        (
            sd1(vae={"block_out_channels": [8, 8, 8]}),
            SD1,
            "the VAE makes one latent pixel of 4x4, and `pipeline: sd1` wants 8x8; name a VAE of that pipeline",
        ),
        (
            sd1(vae={"latent_channels": 16}),
            SD1,
            "the VAE's latent images have 16 channels, and the UNet of `pipeline: sd1` takes 4; name a VAE of that pipeline",
        ),
        (
            sd1(text_encoder={"hidden_size": 48}),
            SD1,
            "text_encoder gives 48 numbers a token, and the UNet takes 32; they are of different models: name a source whose "
            "parts belong together",
        ),
        (
            sdxl(text_encoder_2={"hidden_size": 65}),
            SDXL,
            "text_encoder and text_encoder_2 give 97 numbers a token, and the UNet takes 96; they are of different models: "
            "name a source whose parts belong together",
        ),
        (
            sdxl(text_encoder_2={"projection_dim": 40}, unet=POOLED),
            SDXL,
            "text_encoder_2 gives 40 numbers for a whole prompt, and the UNet takes 48 beside the image sizes; they are of "
            "different models: name a source whose parts belong together",
        ),
        (
            sd1(text_encoder={"max_position_embeddings": 64}),
            SD1,
            "text_encoder takes prompts of 64 tokens, and `pipeline: sd1` has 77; name a model of that pipeline",
        ),
        (
            sd1(text_encoder={"vocab_size": 5}),
            SD1,
            "tokenizer knows 6 tokens, and the text encoder 5; they are of different models: name a source whose parts belong "
            "together",
        ),
    ],
)
def test_a_model_that_the_recipe_does_not_mean(
    tmp_path: Path, files: dict[str, bytes], family: Family, expected: str
) -> None:
    assert refusal(files, tmp_path, family) == f"model: {expected}"


def test_guidance_is_built_into_a_unet_that_takes_it_and_no_other(tmp_path: Path) -> None:
    said = replace(SD1, guidance_embedding=True)
    texts = look(sd1(unet={"time_cond_proj_dim": 64}), tmp_path / "right", said)
    assert json.loads(texts["components/unet/config.json"])["time_cond_proj_dim"] == 64
    assert refusal(sd1(), tmp_path / "plain", said) == (
        "model: the UNet takes no guidance scale (its config.json has no time_cond_proj_dim), and the recipe has "
        "`guidance_embedding`: remove that key, and write guidance under `generate:`"
    )
    wrong = refusal(sd1(unet={"time_cond_proj_dim": "wide"}), tmp_path / "wrong", said)
    assert "time_cond_proj_dim" in wrong


def without(*prefixes: str) -> dict[str, bytes]:
    return {path: body for path, body in sd1().items() if not path.startswith(prefixes)}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            without("model_index"),
            "there is no model_index.json; a diffusers folder has one: save or download it whole",
        ),
        (
            without("unet/"),
            "there is no folder unet, where the recipe's pipeline has its UNet2DConditionModel; name another source, or leave "
            "out of `components:` what needs it",
        ),
        (
            without("vae/")
            | {"model_index.json": as_json({"_class_name": "StableDiffusionPipeline", "vae": [None, None]})},
            "this model has no vae, says its model_index.json; name another source, or leave out of `components:` what needs "
            "it",
        ),
        (
            without("unet/config"),
            "unet/config.json is missing, where the recipe's pipeline has its UNet2DConditionModel; name another source, or "
            "leave out of `components:` what needs it",
        ),
        (
            sd1() | {"vae/config.json": b'{\n"a": 1,\n}'},
            "vae/config.json, line 3 is not valid JSON; the file is damaged: get it again",
        ),
        (
            sd1() | {"unet/config.json": b"\xff"},
            "unet/config.json, line 1 is not UTF-8; the file is damaged: get it again",
        ),
        (
            sd1() | {"model_index.json": as_json([])},
            "model_index.json holds no JSON object; the file is not what its name says",
        ),
        (
            sd1() | {"unet/config.json": b'{"in_channels": 4, "in_channels": 8}'},
            "unet/config.json has the key in_channels twice in one object; the file is damaged: get it again",
        ),
        (
            sd1() | {"vae/config.json": b"[" * 100_000},
            "vae/config.json has more than 64 levels, one inside the other; the file is damaged: get it again",
        ),
        (
            sd1() | {"vae/config.json": b'{"a": ' + b"[" * 100 + b"]" * 100 + b"}"},
            "vae/config.json has more than 64 levels, one inside the other; the file is damaged: get it again",
        ),
        (
            sd1() | {"model_index.json": b'{"a": NaN}'},
            "model_index.json has NaN at a, which is not valid JSON; the file is damaged: get it again",
        ),
        (
            sd1() | {"model_index.json": b'{"a": 1e999}'},
            "model_index.json has infinity, or a number that is too large, at a, which is not valid JSON; the file is damaged: "
            "get it again",
        ),
        (
            sd1() | {"model_index.json": b'{"a": "\\ud800"}'},
            "model_index.json has half a character at a, which is not valid JSON; the file is damaged: get it again",
        ),
        (
            sd1() | {"model_index.json": b'{"a": ' + b"1" * 5000 + b"}"},
            "model_index.json has infinity, or a number that is too large, at a, which is not valid JSON; the file is damaged: "
            "get it again",
        ),
        (
            sd1() | {"model_index.json": "{}".encode("utf-16")},
            "model_index.json, line 1 is not UTF-8; the file is damaged: get it again",
        ),
        (
            sd1() | {"vae/config.json": b'{"a": {"b c": [1, {"d": -Infinity}]}}'},
            "vae/config.json has infinity, or a number that is too large, at a.b c[1].d, which is not valid JSON; the file is "
            "damaged: get it again",
        ),
        (
            sd1() | {"vae/config.json": b'{"a": {"\\ud800": 1}}'},
            'vae/config.json has half a character at a."\\ud800", which is not valid JSON; the file is damaged: get it again',
        ),
        (
            sd1() | {"vae/config.json": b'{"a": ' + b"[" * 3000 + b"]" * 3000 + b"}"},
            "vae/config.json has more than 64 levels, one inside the other; the file is damaged: get it again",
        ),
        (
            sd1() | {"tokenizer/merges.txt": b"#version: 0.2\n"},
            "tokenizer: no merge makes bc</w> of the vocabulary, so prompts with such words would be read in pieces; the "
            "merges are cut off, or not of this tokenizer: get its files again. Words that were added by hand belong in "
            "added_tokens.json",
        ),
        (
            without("scheduler/"),
            "there is no scheduler/scheduler_config.json; a diffusers folder has one: save or download it whole",
        ),
    ],
)
def test_a_pipeline_with_a_part_missing_or_damaged(tmp_path: Path, files: dict[str, bytes], expected: str) -> None:
    assert refusal(files, tmp_path) == f"model: {expected}"


CHECKER = Wanted("safety_checker", "StableDiffusionSafetyChecker", "checker")


def test_a_safety_checker_is_saved_as_transformers_does(tmp_path: Path) -> None:
    source = LocalSource(write(checked(sd1()), tmp_path), "model")
    texts = survey(source, {}, named(TEXT, UNET, VAE, CHECKER), SD1, FAMILIES, False, lambda done, total: None)
    (file,) = json.loads(texts["components/safety_checker/files.json"])["files"]
    assert file["path"] == "safety_checker/model.safetensors"
    assert json.loads(texts["components/safety_checker/config.json"]).keys() == {
        "architectures",
        "projection_dim",
        "vision_config",
    }


@pytest.mark.parametrize("said", [{}, {"safety_checker": [None, None]}])
def test_a_safety_checker_that_the_model_does_not_have(said: dict[str, Any], tmp_path: Path) -> None:
    source = LocalSource(write(sd1(index=said), tmp_path), "model")
    with pytest.raises(SourceError) as failure:
        survey(source, {}, named(TEXT, UNET, VAE, CHECKER), SD1, FAMILIES, False, lambda done, total: None)
    assert str(failure.value) == (
        "model: this model has no safety_checker, says its model_index.json; name another source, or leave out of "
        "`components:` what needs it"
    )


def test_a_vae_of_another_pipeline_is_named_as_the_one_at_fault(tmp_path: Path) -> None:
    other = write({"config.json": sd1(vae={"latent_channels": 16})["vae/config.json"]}, tmp_path / "vae")
    assert refusal(sd1(), tmp_path / "model", vae=other).startswith(
        "other-vae: the VAE's latent images have 16 channels"
    )


def test_another_vae_that_is_none(tmp_path: Path) -> None:
    other = write({"README.md": b""}, tmp_path / "vae")
    assert refusal(sd1(), tmp_path / "model", vae=other).startswith("other-vae: config.json is missing, where ")


@pytest.mark.parametrize(
    ("levels", "width", "height", "message"),
    [
        (2, 64, 64, None),
        (2, 80, 48, None),
        (4, 64, 192, None),
        (
            2,
            72,
            64,
            "resolution: 72x64: the model's UNet halves the latent image once, so both sides must be multiples of 16; write "
            "64x64 or 80x64",
        ),
        (
            4,
            64,
            96,
            "resolution: 64x96: the model's UNet halves the latent image 3 times, so both sides must be multiples of 64; write "
            "64x64 or 64x128",
        ),
    ],
)
def test_a_resolution_that_the_unet_can_halve(levels: int, width: int, height: int, message: str | None) -> None:
    unet: dict[str, Any] = {"down_block_types": ["DownBlock2D"] * levels}
    if message is None:
        check_resolution(unet, 8, width, height)
        return
    with pytest.raises(SourceError) as failure:
        check_resolution(unet, 8, width, height)
    assert str(failure.value) == message


def test_a_byte_order_mark_is_no_damage(tmp_path: Path) -> None:
    files = sd1()
    files["unet/config.json"] = b"\xef\xbb\xbf" + files["unet/config.json"]
    assert look(files, tmp_path / "marked") == look(sd1(), tmp_path / "plain")


REFINER = sdxl(
    index={"text_encoder": [None, None], "tokenizer": [None, None]},
    unet={"cross_attention_dim": 64, "projection_class_embeddings_input_dim": 64 + 5 * 8},
    text_encoder_2={"projection_dim": 64},
)
IS_REFINER = (
    "model: a refiner of Stable Diffusion XL: its UNet takes an aesthetic score, and one text encoder's prompts; it can't be "
    "built yet, so name a base model, such as stabilityai/stable-diffusion-xl-base-1.0"
)


@pytest.mark.parametrize("models", [[TEXT, TEXT_2, UNET, VAE], [TEXT_2, UNET], [UNET]], ids=len)
@pytest.mark.parametrize(
    "kept", [("text_encoder/",), ("text_encoder/", "text_encoder_2/")], ids=["one encoder", "none"]
)
def test_a_refiner_is_told_by_name_whatever_is_built_of_it(
    models: list[Wanted], kept: tuple[str, ...], tmp_path: Path
) -> None:
    files = {path: body for path, body in REFINER.items() if not path.startswith(kept)}
    source = LocalSource(write(files, tmp_path), "model")
    with pytest.raises(SourceError) as failure:
        survey(source, {}, named(*models), SDXL, FAMILIES, False, lambda done, total: None)
    assert str(failure.value) == IS_REFINER


def test_a_refiner_is_told_by_its_index_alone(tmp_path: Path) -> None:
    assert refusal(sdxl(index={"requires_aesthetics_score": True}), tmp_path, SDXL) == IS_REFINER


@pytest.mark.parametrize(
    ("files", "family", "expected"),
    [
        (
            sdxl(text_encoder_2={"projection_dim": 40}, unet=POOLED),
            SDXL,
            "model: text_encoder_2 gives 40 numbers for a whole prompt, and the UNet takes 48 beside the image sizes; they are "
            "of different models: name a source whose parts belong together",
        ),
        (
            sd1(unet={"cross_attention_dim": 48}),
            SD1,
            "model: text_encoder gives 32 numbers a token, and the UNet takes 48; they are of different models: name a source "
            "whose parts belong together",
        ),
        (
            {
                path: body
                for path, body in sdxl(unet={"cross_attention_dim": 64}).items()
                if "text_encoder/" not in path
            },
            SDXL,
            "model: text_encoder_2 gives 64 numbers a token, with text_encoder still to come, and the UNet takes 64; they are "
            "of different models: name a source whose parts belong together",
        ),
    ],
)
def test_widths_are_compared_with_encoders_that_the_recipe_leaves_out(
    files: dict[str, bytes], family: Family, expected: str, tmp_path: Path
) -> None:
    source = LocalSource(write(files, tmp_path), "model")
    with pytest.raises(SourceError) as failure:
        survey(source, {}, named(UNET), family, FAMILIES, False, lambda done, total: None)
    assert str(failure.value) == expected


@pytest.mark.parametrize(
    "left_out", [{"quantization_config": {"bits": 4}}, {"hidden_size": "x"}, {"architectures": ["Own"]}]
)
def test_an_encoder_that_is_not_built_may_be_of_any_kind(left_out: dict[str, Any], tmp_path: Path) -> None:
    source = LocalSource(write(sd1(text_encoder=left_out), tmp_path), "model")
    assert "components/unet/files.json" in survey(
        source, {}, named(UNET), SD1, FAMILIES, False, lambda done, total: None
    )


@pytest.mark.parametrize(
    ("vae", "built", "told"),
    [
        ({"force_upcast": False}, "float32", "write `precision: {vae_decoder: float16}` for half the size"),
        ({"force_upcast": True}, "float16", "does not say force_upcast: false"),
        ({}, "float16", "does not say force_upcast: false"),
        ({"force_upcast": False}, "float16", None),
        ({}, "float32", None),
    ],
)
def test_the_vaes_word_on_float16_is_told_where_the_build_does_otherwise(
    vae: dict[str, Any], built: str, told: str | None, tmp_path: Path
) -> None:
    source, warnings = LocalSource(write(sdxl(vae=vae), tmp_path), "model"), list[str]()
    models = [TEXT, TEXT_2, UNET, VAE]
    survey(
        source, {}, named(*models), SDXL, FAMILIES, False, lambda *step: None, warnings.append, {"vae_decoder": built}
    )
    assert [told is not None and told in warning for warning in warnings] == [True] * (told is not None)


def test_a_variant_is_taken_of_the_models_that_have_it(tmp_path: Path) -> None:
    files = sd1() | {f"unet/{STEM}.non_ema.safetensors": weights(5), "text_encoder/model.fp16.safetensors": weights(6)}
    source = LocalSource(write(files, tmp_path), "model")

    def taken(variant: str | None) -> list[str]:
        texts = survey(source, {}, named(TEXT, UNET, VAE), SD1, FAMILIES, False, lambda *step: None, variant=variant)
        return [
            json.loads(texts[f"components/{name}/files.json"])["files"][0]["path"]
            for name in ("unet", "text_encoder", "vae")
        ]

    fp16, vae = "text_encoder/model.fp16.safetensors", f"vae/{STEM}.safetensors"
    assert taken(None) == [f"unet/{STEM}.safetensors", fp16, vae]
    assert taken("non_ema") == [f"unet/{STEM}.non_ema.safetensors", fp16, vae]
    assert taken("plain") == [f"unet/{STEM}.safetensors", "text_encoder/model.safetensors", vae]
    with pytest.raises(SourceError) as failure:
        taken("bf16")
    assert str(failure.value) == (
        "model: no weights of the variant bf16; there are text_encoder: fp16, plain; unet: non_ema, plain; vae: plain. Write "
        "one of these, or leave out `variant:`"
    )
