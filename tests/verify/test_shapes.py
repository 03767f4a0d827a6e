"""The real model that comes with sdbuild: sound artifacts pass, broken ones are named."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

from sdbuild.errors import UserError
from sdbuild.flow.latents import shown
from sdbuild.verify.generate import shipped_image
from sdbuild.verify.metrics import psnr
from sdbuild.verify.pipeline import PROMPTS, Pipeline, Subject
from sdbuild.verify.recording import run_originals
from sdbuild.verify.report import Report
from tests.architectures import Shape
from tests.verify.breaking import Fault, broken, epsilon, swapped, zeroed
from tests.verify.built import SHAPES, built, compiled, generation, shapes, verify, with_stage

SHAPE = Shape(height=64, width=64, batch=2)
GENERATION = generation(SHAPE)
COMPONENTS = ("text_encoder", "unet", "vae_decoder", "vae_encoder")
WANTED = dict.fromkeys(COMPONENTS, 60.0) | {"image": 45.0}


@pytest.fixture(scope="module")
def report(subjects: dict[str, Subject]) -> Report:
    return verify(list(subjects.values()), GENERATION, min_psnr=WANTED)


def test_every_stage_of_every_component_is_as_pytorch(report: Report) -> None:
    assert [stage.stage for stage in report.components["unet"]] == ["convert", "chunk", "compile"]
    for name in COMPONENTS:
        assert min(stage.psnr for stage in report.components[name]) >= 60
        assert report.components[name][-1].worst.difference.cosine > 0.9999
    report.check()


def test_the_chunks_compute_what_the_whole_does(report: Report) -> None:
    (chunk,) = (stage for stage in report.components["unet"] if stage.stage == "chunk")
    assert chunk.own_psnr >= 80


@pytest.mark.parametrize("prompt", ["a small green cross on a white background", PROMPTS["prompt"]])
def test_the_image_is_that_of_diffusers(
    prompt: str, subjects: dict[str, Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Diffusers' own pipeline generates here, from its own reading of the folder."""
    monkeypatch.setitem(PROMPTS, "prompt", prompt)
    theirs = StableDiffusionPipeline.from_pretrained(SHAPES, dtype=torch.float32, local_files_only=True)
    theirs.set_progress_bar_config(disable=True)
    noise = np.random.RandomState(GENERATION.seed).standard_normal((1, 4, 8, 8)).astype(np.float32)
    image = theirs(
        prompt,
        negative_prompt=PROMPTS["negative prompt"],
        latents=torch.from_numpy(noise),
        num_inference_steps=GENERATION.steps,
        guidance_scale=GENERATION.guidance,
        output_type="np",
    ).images.transpose(0, 3, 1, 2)
    pipeline = Pipeline(list(subjects.values()), GENERATION)
    cases = run_originals(pipeline, lambda: None)
    original = cases["vae_decoder"]["generated image"].outputs["image"]
    np.testing.assert_allclose(shown(original), image, atol=1e-5)
    bundle = shipped_image(pipeline, cases, "float32", lambda: None)
    assert psnr(image, shown(bundle), peak=1.0) >= 45


def test_the_report_is_the_same_every_time_and_tells_no_place(
    report: Report, subjects: dict[str, Subject], tmp_path: Path
) -> None:
    moved = built(tmp_path / "elsewhere", "vae_decoder", shapes("vae", "vae_decoder"), SHAPE)
    again = verify(list((subjects | {"vae_decoder": moved}).values()), GENERATION, min_psnr=WANTED)
    assert again.json() == report.json()
    assert str(tmp_path.parent) not in report.json() + report.table()
    written = json.loads(report.json())
    assert written["image"]["psnr"] >= 45
    assert written["image"]["min_psnr"] == 45
    unet = written["components"]["unet"]
    assert unet["min_psnr"] == 60
    assert unet["stages"][0]["outputs"]["noise_pred"]["case"].startswith("timestep ")
    assert unet["stages"][0]["psnr"] == round(unet["stages"][0]["psnr"], 2)


def test_the_table_has_a_line_for_each_stage(report: Report) -> None:
    lines = report.table().splitlines()
    assert lines[0].split()[:3] == ["component", "stage", "PSNR"]
    assert [line.split()[:2] for line in lines[1:4]] == [
        ["text_encoder", "convert"],
        ["text_encoder", "compile"],
        ["unet", "convert"],
    ]
    assert max(map(len, lines)) <= 120


FAULTS: dict[str, tuple[str, Fault]] = {
    "a text encoder's weight zeroed": ("text_encoder", zeroed("encoder_layers_1_mlp_fc1_weight_to_fp16")),
    "a text encoder's wrong epsilon": ("text_encoder", epsilon(r"layer_norm_epsilon_0", 1e-3)),
    "a UNet's weight zeroed": ("unet", zeroed("mid_block_attentions_0_transformer_blocks_0_attn2_to_k_weight_to_fp16")),
    "a UNet's channels swapped": ("unet", swapped("up_blocks_0_resnets_0_conv1_weight_to_fp16", 3, 4)),
    "a UNet's wrong epsilon": ("unet", epsilon(r"^group_norm_epsilon_y_0$", 1e-2)),
    "a decoder's bias zeroed": ("vae_decoder", zeroed("decoder_conv_out_bias_to_fp16")),
    "a decoder's channels swapped": (
        "vae_decoder",
        swapped("decoder_up_blocks_2_resnets_0_conv1_weight_to_fp16", 0, 1),
    ),
    "a decoder's wrong epsilon": ("vae_decoder", epsilon(r"^group_norm.*_epsilon_y_0$", 1e-2)),
    "an encoder's channels swapped": ("vae_encoder", swapped("quant_conv_weight_to_fp16", 0, 1)),
}


@pytest.mark.parametrize("what", list(FAULTS))
def test_a_fault_of_conversion_is_caught_and_named(what: str, subjects: dict[str, Subject], tmp_path: Path) -> None:
    name, fault = FAULTS[what]
    package = broken(subjects[name].stages["convert"][0], tmp_path, fault)
    found = verify(
        [with_stage(subjects[name], "convert", [package])], GENERATION, min_psnr=WANTED, min_converted_psnr=0
    )
    measured = found.components[name][-1].psnr
    course = rf"\(convert {measured:.2f} dB, compile {measured:.2f} dB\)"
    message = rf"^{name}: {measured:.2f} dB against PyTorch, 60 dB wanted; lost in convert {course}, at "
    with pytest.raises(UserError, match=message):
        found.check()
    asked_of_convert = replace(found, keeps={"convert": 60})
    message = rf"^{name}: convert gives {measured:.2f} dB against PyTorch, where 60 dB are wanted of it"
    with pytest.raises(UserError, match=message):
        asked_of_convert.check()


@pytest.mark.parametrize("what", list(FAULTS))
def test_a_fault_of_compilation_is_caught_and_named(what: str, subjects: dict[str, Subject], tmp_path: Path) -> None:
    """Whatever the recipe asks for: compiling must not change what is computed."""
    name, fault = FAULTS[what]
    whole = with_stage(subjects[name], "convert", list(subjects[name].stages["convert"]))
    package = broken(whole.stages["convert"][0], tmp_path, fault)
    found = verify([with_stage(whole, "compile", [compiled(package)])], GENERATION, min_psnr={name: 0})
    with pytest.raises(
        UserError, match=rf"^{name}: compile gives [\d.-]+ dB against what it was given, where 80 dB are"
    ):
        found.check()


@pytest.mark.parametrize("part", [0, 1], ids=["first", "second"])
def test_a_fault_of_a_chunk_is_caught_and_named(part: int, subjects: dict[str, Subject], tmp_path: Path) -> None:
    weight = ("conv_in_weight_to_fp16", "conv_out_weight_to_fp16")[part]
    chunks = list(subjects["unet"].stages["chunk"])
    chunks[part] = broken(chunks[part], tmp_path, zeroed(weight))
    found = verify([with_stage(subjects["unet"], "chunk", chunks)], GENERATION, min_psnr={"unet": 0})
    with pytest.raises(UserError, match=r"^unet: chunk gives [\d.-]+ dB against what it was given, where 80 dB are"):
        found.check()


def test_everything_that_falls_short_is_told_in_one_error(subjects: dict[str, Subject], report: Report) -> None:
    found = replace(report, min_psnr={"unet": 101, "text_encoder": 60, "vae_decoder": 101, "image": 101})
    with pytest.raises(UserError) as failure:
        found.check()
    first, *lines = str(failure.value).splitlines()
    assert first == "3 fall short:"
    assert [line.split(":")[0].strip() for line in lines[:3]] == ["unet", "vae_decoder", "image"]
    assert "against PyTorch's image, 101 dB wanted" in lines[2]
    assert [line.strip() for line in lines[3:]] == [line.strip() for line in found.table().splitlines()]


@pytest.mark.parametrize("batch", [1, 2])
def test_an_image_of_few_steps_without_guidance(batch: int, subjects: dict[str, Subject], tmp_path: Path) -> None:
    """Only the prompt counts, whatever rows there are; noise that the scheduler adds is the same on both sides."""
    shape = Shape(height=64, width=64, batch=batch)
    if batch == 1:
        subjects = subjects | {"unet": built(tmp_path / "unet", "unet", shapes("unet", "unet"), shape)}
    facts = replace(generation(shape), steps=2, guidance=1.0, scheduler_name="lcm")
    report = verify(list(subjects.values()), facts, min_psnr=WANTED)
    report.check()
    case = report.components["unet"][0].worst.case
    assert "guided" not in case
    assert case in ("timestep 999", "timestep 499") if batch == 1 else case == "timestep 999; 499"
