"""What a bundle generates is what diffusers does with the original, and the same however it was built."""

import gc
import json
import weakref
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from sdbuild.coreml.runtime import Model
from sdbuild.errors import UsageError, UserError
from sdbuild.generate import Pipeline
from sdbuild.generate.backend import BundleNetwork
from sdbuild.generate.bundle import read_bundle
from sdbuild.generate.options import Options
from sdbuild.networks import Machine
from sdbuild.shapes.scenes import parse_caption
from sdbuild.shapes.score import check

CIRCLE = "a large red circle on a blue background"
CROSS = "a small yellow cross on a purple background"
SQUARE = "a medium white square on a black background"


def psnr(reference: np.ndarray[Any, Any], result: np.ndarray[Any, Any]) -> float:
    """Of images from 0 to 1. Rounding to 8 bits alone costs so much that 59 dB are the most."""
    noise = np.sqrt(np.mean((reference.astype(np.float64) - result) ** 2))
    return float(-20 * np.log10(noise + 1e-30))


def expected(pipeline: Any, prompt: str, **options: Any) -> np.ndarray[Any, Any]:
    generator = torch.Generator().manual_seed(options.pop("seed"))
    image: np.ndarray[Any, Any] = pipeline(prompt, generator=generator, output_type="np", **options).images[0]
    return image


@pytest.mark.parametrize(("prompt", "seed"), [(CIRCLE, 93), (CROSS, 7), (SQUARE, 4294967295)])
def test_the_same_image_as_diffusers(whole: Path, reference: Any, prompt: str, seed: int) -> None:
    wanted = expected(reference, prompt, seed=seed, num_inference_steps=20, guidance_scale=2.0)
    image = Pipeline.open(whole).generate(prompt, seed=seed, steps=20, guidance=2, rng="torch")
    assert psnr(wanted, image.pixels / 255) > 55  # 45 are asked for
    assert check(image.pixels.astype(np.float32) / 255).is_right(parse_caption(prompt))


def test_a_negative_prompt_as_diffusers_takes_it(whole: Path, reference: Any) -> None:
    options = {"seed": 1, "num_inference_steps": 8, "guidance_scale": 3.0}
    wanted = expected(reference, "a circle", negative_prompt="a red circle", **options)
    arguments: dict[str, Any] = {"seed": 1, "steps": 8, "guidance": 3.0, "rng": "torch"}
    pipeline = Pipeline.open(whole)
    with_it = pipeline.generate("a circle", negative="a red circle", **arguments).pixels / 255
    without = pipeline.generate("a circle", **arguments).pixels / 255
    assert psnr(wanted, with_it) > 55
    assert psnr(wanted, without) < 30


@pytest.mark.parametrize("guidance", [1.0, 0.5, 0.0])
def test_low_guidance_is_the_prompt_alone(whole: Path, reference: Any, guidance: float) -> None:
    wanted = expected(reference, CROSS, seed=3, num_inference_steps=6, guidance_scale=1.0)
    image = Pipeline.open(whole).generate(CROSS, seed=3, steps=6, guidance=guidance, rng="torch")
    assert psnr(wanted, image.pixels / 255) > 55


def test_batch_one_and_chunks_generate_the_same(whole: Path, chunked: Path) -> None:
    images = [Pipeline.open(path).generate(CROSS, guidance=3, steps=5).pixels for path in (whole, chunked)]
    assert psnr(images[0] / 255, images[1] / 255) > 50
    alone = [Pipeline.open(path).generate(CROSS, guidance=1, steps=5).pixels for path in (whole, chunked)]
    assert psnr(alone[0] / 255, alone[1] / 255) > 50
    assert psnr(images[0] / 255, alone[0] / 255) < 40


def test_sdxl_as_diffusers_runs_it(large: Path, large_reference: Any) -> None:
    # An empty negative prompt is encoded, as the app does it; without one diffusers would take zeros.
    options = {"seed": 5, "num_inference_steps": 4, "guidance_scale": 4.0, "height": 64, "width": 128}
    wanted = expected(large_reference, CIRCLE, negative_prompt="", **options)
    image = Pipeline.open(large).generate(CIRCLE, seed=5, steps=4, guidance=4, rng="torch")
    assert image.pixels.shape == (64, 128, 3)
    assert image.pixels.std() > 5
    assert psnr(wanted, image.pixels / 255) > 45


@pytest.mark.parametrize(
    ("sizes", "told"), [(None, (64, 128)), ("image", (64, 128)), ("app", (1024,) * 2), (96, (96,) * 2)]
)
def test_sdxl_is_told_of_the_sizes_asked_for(
    large: Path, large_reference: Any, sizes: str | int | None, told: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Any] = []

    def listen(_module: Any, _arguments: Any, given: Any) -> None:
        found.append(given["added_cond_kwargs"]["time_ids"][0].tolist())

    def run(network: BundleNetwork, given: Any) -> Any:
        if "time_ids" in given:
            found.append(given["time_ids"][0].tolist())
        return original(network, given)

    original = BundleNetwork.__call__
    monkeypatch.setattr(BundleNetwork, "__call__", run)
    listener = large_reference.unet.register_forward_pre_hook(listen, with_kwargs=True)
    size = {"height": 64, "width": 128, "original_size": told, "target_size": told}
    expected(large_reference, CIRCLE, seed=5, num_inference_steps=1, **size)
    listener.remove()
    image = Pipeline.open(large).generate(CIRCLE, steps=1, sizes=sizes)
    assert found == [[*told, 0, 0, *told]] * 2
    assert image.metadata.get("sizes") == (None if sizes is None else str(sizes))


def with_numbers(bundle: Path, folder: Path, **numbers: Any) -> Path:
    """The bundle, for a model whose scheduler has these numbers."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["scheduler"] |= numbers
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "Resources").symlink_to(bundle / "Resources")
    return folder


@pytest.mark.parametrize(
    "numbers",
    [
        {"prediction_type": "v_prediction"},
        {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"},
        {
            "_class_name": "EulerDiscreteScheduler",
            "prediction_type": "v_prediction",
            "rescale_betas_zero_snr": True,
            "timestep_spacing": "trailing",
        },
        {
            "_class_name": "DPMSolverMultistepScheduler",
            "prediction_type": "v_prediction",
            "timestep_spacing": "linspace",
        },
        {"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "trailing", "beta_schedule": "linear"},
    ],
    ids=["v", "v-ztsnr", "euler-v-ztsnr", "dpm-v-linspace", "euler-trailing"],
)
def test_each_kind_of_prediction_and_schedule_as_in_diffusers(
    whole: Path, reference: Any, numbers: dict[str, Any], tmp_path: Path
) -> None:
    folder = with_numbers(whole, tmp_path / "bundle", **numbers)
    config = {**reference.scheduler.config, **numbers}
    own = reference.scheduler
    try:
        reference.scheduler = getattr(diffusers, config["_class_name"]).from_config(config)
        wanted = expected(reference, CIRCLE, seed=3, num_inference_steps=4, guidance_scale=2.0)
    finally:
        reference.scheduler = own
    image = Pipeline.open(folder).generate(CIRCLE, seed=3, steps=4, guidance=2, rng="torch")
    assert image.pixels.std() > 5
    assert psnr(wanted, image.pixels / 255) > 40
    assert image.notes == ()


def test_a_scheduler_without_what_the_model_needs_is_told(whole: Path, tmp_path: Path) -> None:
    folder = with_numbers(whole, tmp_path / "bundle", rescale_betas_zero_snr=True)
    image = Pipeline.open(folder).generate(CIRCLE, steps=1, scheduler="pndm")
    assert image.notes == (
        "PNDMScheduler leaves the model's rescale_betas_zero_snr: true unread; use scheduler=ddim or euler for it",
    )


@pytest.mark.parametrize("scheduler", [None, "pndm", "heun", "dpmpp", "euler_a"])
def test_from_an_image_as_diffusers_does_it(
    chunked: Path, reference: Any, scheduler: str | None, tmp_path: Path
) -> None:
    import diffusers

    from sdbuild.scheduler_kinds import SCHEDULERS

    image = Image.new("RGB", (64, 64), (40, 80, 225))
    image.paste((245, 225, 50), (20, 20, 44, 44))
    image.save(tmp_path / "start.png")
    pipeline = diffusers.StableDiffusionImg2ImgPipeline(**reference.components, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    if scheduler is not None:
        kind = SCHEDULERS[scheduler]
        own = reference.scheduler.config
        pipeline.scheduler = getattr(diffusers, kind.class_name).from_config(own, **kind.settings)
    options = {"seed": 93, "num_inference_steps": 10, "guidance_scale": 1.5, "strength": 0.7}
    wanted = expected(pipeline, CIRCLE, image=image, **options)
    arguments: dict[str, Any] = {"image": tmp_path / "start.png", "strength": 0.7, "scheduler": scheduler}
    image = Pipeline.open(chunked).generate(CIRCLE, steps=10, guidance=1.5, rng="torch", **arguments)
    assert psnr(wanted, image.pixels / 255) > 50
    assert image.metadata["image"] == "start.png"
    assert image.metadata["strength"] == "0.7"


def test_little_strength_leaves_the_image_alone(chunked: Path, tmp_path: Path) -> None:
    pipeline = Pipeline.open(chunked)
    pipeline.generate(CROSS, guidance=2, steps=10).save(tmp_path / "start.png")
    start = tmp_path / "start.png"
    little, all_of_it = (pipeline.generate(CIRCLE, guidance=2, steps=10, image=start, strength=s) for s in (0.1, 1.0))
    assert check(little.pixels.astype(np.float32) / 255).background == "purple"
    assert check(all_of_it.pixels.astype(np.float32) / 255).is_right(parse_caption(CIRCLE))


def test_an_image_does_not_depend_on_its_company(whole: Path) -> None:
    pipeline = Pipeline.open(whole)
    options = Options(steps=3, guidance=2, scheduler="euler_a")
    images = pipeline.generate_all([CIRCLE, CROSS], [5, 6], options)
    assert [(p.metadata["prompt"], p.metadata["seed"]) for p in images] == [
        (CIRCLE, "5"),
        (CIRCLE, "6"),
        (CROSS, "5"),
        (CROSS, "6"),
    ]
    alone = pipeline.generate(CROSS, seed=6, steps=3, guidance=2, scheduler="euler_a")
    assert np.array_equal(alone.pixels, images[3].pixels)
    assert len({image.pixels.tobytes() for image in images}) == 4


def test_rng_changes_the_image(whole: Path) -> None:
    pipeline = Pipeline.open(whole)
    one, other = (pipeline.generate(CIRCLE, steps=2, guidance=1, rng=rng) for rng in ("numpy", "torch"))
    assert not np.array_equal(one.pixels, other.pixels)


class _Watchful(Machine):
    """Counts the models that are alive whenever one is loaded."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        object.__setattr__(self, "loaded", [])
        object.__setattr__(self, "most", 0)

    def load(self, path: Path) -> Model:
        model = super().load(path)
        self.loaded.append((path.stem, weakref.ref(model)))
        object.__setattr__(self, "most", max(self.most, sum(each() is not None for _, each in self.loaded)))
        return model


def test_one_model_at_a_time(whole: Path, large: Path, chunked: Path) -> None:
    gc.disable()  # what is freed must not have to wait for it
    try:
        for path, most in ((whole, 1), (large, 1), (chunked, 2)):
            machine = _Watchful()
            Pipeline(read_bundle(path), {}, machine).generate_all([CIRCLE, CROSS], [1, 2], Options(steps=1))
            assert machine.most == most
            assert len({name for name, _ in machine.loaded}) == len(machine.loaded)
    finally:
        gc.enable()


def test_decoded_weights_within_a_budget(whole: Path) -> None:
    images = [Pipeline.open(whole, decoded_bytes=size).generate(CIRCLE, steps=2) for size in (None, 1 << 20)]
    assert np.array_equal(images[0].pixels, images[1].pixels)


def test_half_precision_is_another_image_but_nearly_the_same(whole: Path) -> None:
    options: dict[str, Any] = {"steps": 5, "guidance": 2}
    full, half = (Pipeline.open(whole, precision=p).generate(CIRCLE, **options) for p in ("float32", "float16"))
    assert not np.array_equal(full.pixels, half.pixels)
    assert psnr(full.pixels / 255, half.pixels / 255) > 30
    assert half.metadata["precision"] == "float16"


def test_progress_by_step(whole: Path) -> None:
    news: list[tuple[str, int, int]] = []
    Pipeline.open(whole).generate(CIRCLE, steps=3, progress=lambda *told: news.append(told))
    step = "image 1 of 1, seed 93"
    assert news == [
        ("encode prompts", 0, 1),
        *((step, done, 3) for done in range(4)),
        ("decode", 0, 1),
        ("decode", 1, 1),
    ]


def test_metadata_and_defaults(whole: Path) -> None:
    image = Pipeline.open(whole, name="mine", variant="6bit").generate(CIRCLE, steps=2)
    manifest = read_bundle(whole)
    assert image.metadata == {
        "Software": image.metadata["Software"],
        "recipe": "mine",
        "variant": "6bit",
        "prompt": CIRCLE,
        "negative_prompt": "",
        "seed": "93",
        "steps": "2",
        "guidance": "7.5",
        "scheduler": manifest.facts.scheduler["_class_name"],
        "rng": "numpy",
        "precision": "float32",
        "bundle_sha256": manifest.sha256,
        "models_sha256": image.metadata["models_sha256"],
    }
    assert manifest.models["Unet"] in image.metadata["models_sha256"]
    assert image.notes == ()


def test_notes_on_what_the_app_cannot_read(whole: Path) -> None:
    pipeline = Pipeline.open(whole)
    image = pipeline.generate("a red 円 " + "circle " * 80, negative="ß", steps=1)
    assert [note.partition(":")[0] for note in image.notes] == [
        "the prompt is too long, cut off",
        "the app's tokenizer does not know, and reads as the prompt's end",
    ]
    assert image.notes[1].endswith("'円'")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps=0: must be from 1 to 1000"),
        ({"steps": 1001}, "steps=1001: must be from 1 to 1000"),
        ({"guidance": float("nan")}, "guidance=nan: must be from 0 to 100"),
        ({"guidance": -1}, "guidance=-1"),
        ({"seed": -1}, "seed=-1: must be from 0 to 4294967295"),
        ({"seed": 2**32}, "seed=4294967296"),
        ({"scheduler": "eular"}, "scheduler=eular: unknown: did you mean 'euler'?"),
        ({"rng": "cuda"}, "rng=cuda: choose numpy"),
        ({"negative": "x", "guidance": 1}, "negative=: has no effect at guidance 1"),
        ({"strength": 0.5}, "strength=: .* give image= too"),
        ({"image": "x.png"}, "this bundle has no VAEEncoder .* add vae_encoder to the recipe's `components`"),
        ({"sizes": "app"}, "sizes=: only the UNet of SDXL takes sizes, and this bundle is sd1"),
        ({"sizes": "big"}, r"sizes=big: choose image \(the image's own\), app"),
        ({"sizes": 0}, "sizes=0: must be from 1 to 8192"),
        ({"seed": 1.5}, "seed=1.5: must be a whole number"),
        ({"seed": True}, "seed=True: must be a whole number"),
        ({"seed": None}, "seed=None: must be a whole number"),
        ({"steps": 1.5}, "steps=1.5: must be a whole number"),
        ({"steps": "3"}, "steps='3': must be a whole number"),
        ({"guidance": "x"}, "guidance='x': must be a number"),
        ({"guidance": True}, "guidance=True: must be a number"),
        ({"strength": "x"}, "strength='x': must be a number"),
        ({"scheduler": 3}, "scheduler=3: must be text"),
        ({"rng": ["numpy"]}, r"rng=\['numpy'\]: choose numpy"),
        ({"sizes": 1.5}, "sizes=1.5: must be a whole number"),
        ({"sizes": False}, "sizes=False: must be a whole number"),
        ({"image": 3}, "image=3: must be the path of an image"),
        ({"negative": b"x"}, "negative=b'x': must be text"),
        ({"prompt": 3}, "prompt=3: must be text"),
        ({"prompt": "\udcff"}, "prompt=: is not valid UTF-8"),
        ({"prompt": "a\0b"}, "prompt=: has a NUL"),
    ],
)
def test_what_cannot_be_is_said_before_generating(whole: Path, options: dict[str, Any], message: str) -> None:
    def forbidden(*told: Any) -> None:
        raise AssertionError("generating began")

    with pytest.raises(UsageError, match=message):
        Pipeline.open(whole).generate(**{"prompt": CIRCLE, "progress": forbidden} | options)


def test_steps_that_the_scheduler_cannot_take_are_refused_before_generating(whole: Path) -> None:
    with pytest.raises(UserError, match="scheduler DDIMScheduler: can't take 1000 steps"):
        Pipeline.open(whole).check(Options(steps=1000, scheduler="ddim"))


def test_a_strength_that_leaves_no_step(chunked: Path) -> None:
    with pytest.raises(UserError, match=r"strength=0.2: of 4 steps none is left; .* at least 0.25"):
        Pipeline.open(chunked).generate(CIRCLE, steps=4, image="any.png", strength=0.2)


def test_a_device_that_is_not_there(whole: Path) -> None:
    for device in ("abacus", "meta", "cuda:99"):
        here = f"device '{device}' cannot be used: choose one of cpu, cuda, mps; this machine has cpu"
        with pytest.raises(UserError, match=here) as refused:
            Pipeline.open(whole, device=device).generate(CIRCLE)
        assert refused.value.status == 3
