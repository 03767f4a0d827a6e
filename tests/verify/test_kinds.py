"""Every kind of component, batch and compression, on scaled-down models; and what cannot be verified."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionXLPipeline
from safetensors.torch import load_file, save_file
from transformers import CLIPTokenizer

from sdbuild.errors import UserError
from sdbuild.flow.latents import shown
from sdbuild.verify.metrics import CEILING, compare
from sdbuild.verify.pipeline import PROMPTS, Pipeline, Subject
from sdbuild.verify.recording import run_originals
from sdbuild.verify.reference import Reference
from tests.architectures import CHECKER, TEXT, TEXT_XL, UNET_2, UNET_XL, VAE, Shape, make
from tests.verify.breaking import broken, renamed
from tests.verify.built import SCHEDULER, SHAPES, Source, built, finished, generation, saved, verify, with_stage

SHAPE = Shape(height=64, width=32, batch=2)
WORDS = {"vocab_size": 653, "bos_token_id": 651, "eos_token_id": 652, "pad_token_id": 652}  # of the shapes' tokenizer
CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "text_encoder": ("clip_text_pooled", TEXT | WORDS),
    "text_encoder_2": ("clip_text_pooled", TEXT_XL | WORDS | {"pad_token_id": 0}),
    "unet": ("unet_xl", UNET_XL | {"cross_attention_dim": 128}),
    "vae_decoder": ("vae_decoder", VAE),
}


def one(folder: Path, name: str, kind: str, config: dict[str, Any], shape: Shape = SHAPE, **how: Any) -> Subject:
    return built(folder / "built", name, saved(folder / "saved", kind, config), shape, **how)


@pytest.fixture(scope="module")
def xl(tmp_path_factory: pytest.TempPathFactory) -> list[Subject]:
    folder = tmp_path_factory.mktemp("xl")
    return [one(folder / name, name, *what) for name, what in CONFIGS.items()]


def test_sdxl_is_as_pytorch(xl: list[Subject]) -> None:
    report = verify(xl, generation(SHAPE))
    report.check()
    assert report.image is not None
    assert report.image >= 45
    for name in CONFIGS:
        assert report.components[name][-1].psnr >= 55
    assert set(report.components["text_encoder_2"][0].outputs) == {"hidden_embeds", "pooled_outputs"}


def test_sdxl_generates_as_diffusers_does(xl: list[Subject]) -> None:
    """Two tokenizers, both text encoders' embeddings, sizes and guidance, in diffusers' own pipeline."""
    text, text_2, unet, vae = (make(*CONFIGS[name]) for name in CONFIGS)
    tokenizers = [
        CLIPTokenizer(
            vocab=str(SHAPES / "tokenizer" / "vocab.json"),
            merges=str(SHAPES / "tokenizer" / "merges.txt"),
            pad_token=padding,
            model_max_length=77,
        )
        for padding in ("<|endoftext|>", "!")
    ]
    theirs = StableDiffusionXLPipeline(
        vae, text, text_2, *tokenizers, unet, DDIMScheduler.from_config(SCHEDULER), add_watermarker=False
    )
    theirs.set_progress_bar_config(disable=True)
    facts = generation(SHAPE)
    noise = np.random.RandomState(facts.seed).standard_normal((1, 4, 8, 4)).astype(np.float32)
    image = theirs(
        PROMPTS["prompt"],
        negative_prompt=PROMPTS["negative prompt"],
        latents=torch.from_numpy(noise),
        height=SHAPE.height,
        width=SHAPE.width,
        num_inference_steps=facts.steps,
        guidance_scale=facts.guidance,
        output_type="np",
    ).images
    ours = run_originals(Pipeline(xl, facts), lambda: None)["vae_decoder"]["generated image"].outputs["image"]
    np.testing.assert_allclose(shown(ours), image.transpose(0, 3, 1, 2), atol=1e-5)


def test_batch_one_takes_both_halves_of_guidance(tmp_path: Path) -> None:
    shape = replace(SHAPE, batch=1)
    subject = one(tmp_path, "unet", "unet", UNET_2, shape)
    text = one(tmp_path / "text", "text_encoder", "clip_text", TEXT | WORDS)
    facts = generation(shape)
    cases = run_originals(Pipeline([text, subject], facts), lambda: None)["unet"]
    assert len({case.split(",")[0] for case in cases}) > 1
    assert {case.split(", ")[1] for case in cases} == {"guided", "unguided"}
    assert {case.inputs["sample"].shape for case in cases.values()} == {(1, 4, 8, 4)}
    assert verify([text, subject], facts).components["unet"][-1].psnr >= 55


def test_a_case_of_both_halves_is_of_two_times(xl: list[Subject]) -> None:
    """Each row is what the original gives at its own time, whatever the other row is."""
    subject = xl[2]
    cases = run_originals(Pipeline([subject], generation(SHAPE)), lambda: None)["unet"]
    times = [list(case.inputs["timestep"]) for case in cases.values()]
    assert len({time for both in times for time in both}) == 4
    assert list(cases) == [f"timestep {early:g}, unguided; {late:g}, guided" for early, late in times]
    assert subject.weights is not None
    original = Reference(subject.kind, subject.config, subject.weights, subject.options)
    for case in cases.values():
        (again,) = original([case.inputs[port] for port in subject.inputs])
        assert compare(case.outputs["noise_pred"], again).psnr == CEILING


def test_too_few_bits_are_named(xl: list[Subject], tmp_path: Path) -> None:
    subject = finished(tmp_path, xl[2], bits=2, chunked=True)
    report = verify([subject], generation(SHAPE), min_psnr={"unet": 35})
    stages = {stage.stage: stage.psnr for stage in report.components["unet"]}
    assert list(stages) == ["convert", "compress", "chunk", "compile"]
    course = ", ".join(f"{stage} {psnr:.2f} dB" for stage, psnr in stages.items())
    shipped = f"unet: {stages['compile']:.2f} dB against PyTorch, 35 dB wanted"
    with pytest.raises(UserError) as failure:
        report.check()
    line, table = str(failure.value).split("\n", 1)
    assert line.startswith(f"{shipped}; lost in compress ({course}), at timestep ")
    assert line.endswith(": compress it less, or lower verify.min_psnr")
    assert all(f"{psnr:.2f}" in table for psnr in stages.values())
    replace(report, min_psnr={"unet": stages["compile"]}).check()


@pytest.mark.parametrize(("name", "times"), [("dpmpp_single", 3), ("euler", 1)])
def test_steps_that_the_scheduler_cannot_take_are_refused_first(name: str, times: int) -> None:
    wanted = generation(SHAPE)
    wanted = replace(wanted, scheduler={**wanted.scheduler, "num_train_timesteps": times}, scheduler_name=name)
    with pytest.raises(UserError, match=f"can't take 4 steps on a schedule of noise of {times} time"):
        Pipeline([], wanted).denoiser_runs()


def test_overflow_shows_in_half_precision_and_only_there(tmp_path: Path) -> None:
    """As SDXL's VAE does it: sound in float32, too large for float16."""
    source = saved(tmp_path / "saved", "vae_decoder", VAE)
    _edit(source, "decoder.conv_out.weight", lambda weight: weight.clamp(-1, 1) * 6e4)
    subject = built(tmp_path / "built", "vae_decoder", source, SHAPE)
    verify([subject], generation(SHAPE)).check()
    halves = verify([subject], generation(SHAPE), precision="float16")
    message = "vae_decoder: convert gives not finite against PyTorch, where 50 dB are wanted of it .* half precision"
    with pytest.raises(UserError, match=message):
        halves.check()
    stage = json.loads(halves.json())["components"]["vae_decoder"]["stages"][0]
    assert (stage["psnr"], stage["outputs"]["image"]["max_error"]) == (None, None)
    assert "not finite" in halves.table()


def _edit(source: Source, name: str, change: Callable[[torch.Tensor], torch.Tensor] | None) -> None:
    """Change a tensor of a checkpoint, or with None remove it."""
    file = source.weights / "model.safetensors"
    tensors = load_file(file)
    tensor = tensors.pop(name)
    file.unlink()
    save_file(tensors | ({name: change(tensor)} if change else {}), file)


def test_a_component_alone_is_verified_too(xl: list[Subject], tmp_path: Path) -> None:
    encoder = built(tmp_path / "built", "vae_encoder", saved(tmp_path / "saved", "vae_encoder", VAE), SHAPE)
    checker = one(tmp_path / "checker", "safety_checker", "safety_checker", CHECKER)
    for subject in (*xl, encoder, checker):
        report = verify([subject], generation(SHAPE))
        report.check()
        assert report.components[subject.name][-1].psnr >= 55
        assert json.loads(report.json())["image"] is None
        assert "\nimage" not in report.table()


@pytest.mark.parametrize(
    "scheduler",
    ["EulerAncestralDiscreteScheduler", "EulerDiscreteScheduler", "PNDMScheduler", "DPMSolverMultistepScheduler"],
)
def test_other_schedulers_denoise_too(scheduler: str, xl: list[Subject]) -> None:
    facts = replace(generation(SHAPE), scheduler=SCHEDULER | {"_class_name": scheduler, "skip_prk_steps": True})
    pipeline = Pipeline(xl[:3], facts)
    first, again = (run_originals(pipeline, lambda: None)["unet"] for _ in range(2))
    assert sum(len(name.split("; ")) for name in first) == 4
    for case, same in zip(first.values(), again.values(), strict=True):
        np.testing.assert_array_equal(case.outputs["noise_pred"], same.outputs["noise_pred"])


def test_a_scheduler_that_there_is_not(xl: list[Subject]) -> None:
    facts = replace(generation(SHAPE), scheduler={"_class_name": "MagicScheduler"})
    with pytest.raises(UserError, match=r"^scheduler_config\.json names MagicScheduler, which"):
        verify(xl, facts)


def test_models_that_cannot_be_run_name_component_and_stage(xl: list[Subject], tmp_path: Path) -> None:
    decoder = xl[3]
    package = decoder.stages["convert"][0]
    for number, (old, new, message) in enumerate(
        [("z", "latent", "takes latent; there is z"), ("image", "picture", "does not give image")]
    ):
        other = broken(package, tmp_path / str(number), renamed(old, new))
        with pytest.raises(UserError, match=rf"^vae_decoder: convert: .*Model.mlpackage: {message}"):
            verify([with_stage(decoder, "convert", [other])], generation(SHAPE))
    cut = broken(package, tmp_path / "cut")
    with (cut / "Data/com.apple.CoreML/weights/weight.bin").open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(UserError, match=r"^vae_decoder: convert: .*weight.bin"):
        verify([replace(decoder, stages={"convert": [cut]})], generation(SHAPE))


def test_a_model_of_another_size_names_component_and_stage(xl: list[Subject]) -> None:
    other = generation(replace(SHAPE, width=64))
    with pytest.raises(UserError, match=r"^vae_decoder: convert: input z: has shape \[1, 4, 8, 8\], the model takes"):
        verify(xl[3:], other)


def test_weights_that_are_not_there_name_the_component(xl: list[Subject], tmp_path: Path) -> None:
    source = saved(tmp_path / "saved", "vae_decoder", VAE)
    _edit(source, "decoder.conv_out.bias", None)
    with pytest.raises(UserError, match=r"^vae_decoder: weights: decoder\.conv_out\.bias is not in"):
        verify([replace(xl[3], weights=source.weights)], generation(SHAPE))
