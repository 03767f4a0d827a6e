"""The loop over the steps: rows of a batch, guides from outside, and what nothing gives."""

import gc
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from diffusers import DDIMScheduler

from sdbuild.arrays import Array
from sdbuild.errors import UserError
from sdbuild.flow.backend import held
from sdbuild.flow.denoise import Guide, Origin, Step, begin, count_runs, denoise
from sdbuild.flow.noise import Noise
from sdbuild.networks import Network
from sdbuild.wiring import Part

DENOISER = Part(
    name="denoiser",
    role="denoiser",
    inputs={"sample": "latents", "timestep": "time", "states": "hidden"},
    outputs={"noise_pred": "noise"},
)
WORDS = [{"hidden": np.full((1, 2, 1, 3), value, np.float32)} for value in (0.1, 0.7)]
SHAPE = (1, 4, 4, 4)


class Toy:
    """A denoiser: what it predicts depends on all that it takes, row by row."""

    def __init__(self) -> None:
        self.taken: list[Mapping[str, Array]] = []

    def __call__(self, given: Mapping[str, Array]) -> dict[str, Array]:
        self.taken.append(given)
        moved = given["states"].mean((1, 2, 3)) + given["timestep"] / 1000
        noise = np.tanh(given["sample"][:, :4] * moved[:, None, None, None])
        for extra in (given.get("mask"), given["sample"][:, 4:]):
            if extra is not None and extra.size:
                noise = noise * extra
        return {"noise_pred": noise.astype(np.float32)}


def taken(network: Network, *guides: Guide, batch: int = 2, part: Part = DENOISER, conditions: Any = WORDS) -> Array:
    scheduler = DDIMScheduler()
    scheduler.set_timesteps(4)
    noise = Noise("numpy", 5)
    start = begin(scheduler, noise, SHAPE)
    return denoise(network, part, batch, scheduler, conditions, 3.0, start, noise.generator, guides=guides)


def test_the_batch_changes_nothing() -> None:
    both, one = Toy(), Toy()
    assert np.array_equal(taken(both), taken(one, batch=1))
    assert (len(both.taken), len(one.taken)) == (4, 8)
    scheduler = DDIMScheduler()
    scheduler.set_timesteps(4)
    assert [count_runs(scheduler, batch, 2) for batch in (2, 1)] == [4, 8]
    alone = Toy()
    assert not np.array_equal(taken(alone, conditions=WORDS[1:]), taken(Toy()))
    assert [len(given["sample"]) for given in alone.taken] == [2] * 4  # its second row is the first one again


@dataclass
class Mask:
    """A guide: half of the image is left as it is, by an input of its own."""

    mask: Array

    def inputs(self, step: Step) -> Mapping[str, Array]:
        return {"mask": np.repeat(self.mask, len(step.inputs["sample"]), 0)}


@dataclass
class Inpainting:
    """A guide: the mask is one more channel of the latent image, from the second step on."""

    mask: Array

    def inputs(self, step: Step) -> Mapping[str, Array]:
        sample = step.inputs["sample"]
        mask = self.mask if step.index else np.ones_like(self.mask)
        return {"sample": np.concatenate([sample, np.repeat(mask, len(sample), 0)], axis=1)}


@pytest.mark.parametrize("batch", [1, 2])
def test_a_guide_plugs_in(batch: int) -> None:
    mask = np.zeros((1, 1, 4, 4), np.float32)
    mask[..., :2] = 1
    part = Part(name="denoiser", role="denoiser", inputs={**DENOISER.inputs, "mask": "mask"}, outputs=DENOISER.outputs)
    toy = Toy()
    guided, plain = taken(toy, Mask(mask), batch=batch, part=part), taken(Toy(), batch=batch)
    assert {given["mask"].shape for given in toy.taken} == {(batch, 1, 4, 4)}
    np.testing.assert_array_equal(guided[..., :2], plain[..., :2])
    assert (guided[..., 2:] != plain[..., 2:]).all()
    other = Toy()
    inpainted = taken(other, Inpainting(mask), batch=batch)
    assert {given["sample"].shape for given in other.taken} == {(batch, 5, 4, 4)}
    np.testing.assert_array_equal(inpainted[..., :2], plain[..., :2])
    assert not np.array_equal(inpainted, guided)


def test_an_image_encoded_for_another_denoiser() -> None:
    scheduler, mean = DDIMScheduler(), np.zeros((1, 4, 8, 8), np.float32)
    scheduler.set_timesteps(4)
    with pytest.raises(
        UserError, match=r"encoded image has shape \[1, 4, 8, 8\], and the denoiser starts from \[1, 4, 4"
    ):
        begin(scheduler, Noise("numpy", 5), SHAPE, 4, Origin(mean, mean, 1.0, 0.5))


def test_what_nothing_gives_is_named() -> None:
    part = Part(name="unet", role="denoiser", inputs={**DENOISER.inputs, "control": "residuals"}, outputs={})
    with pytest.raises(UserError, match=r"^unet: takes control, too, and there is nothing to give it$"):
        taken(Toy(), part=part)
    with pytest.raises(UserError, match=r"^denoiser: does not give noise_pred; it gives other$"):
        taken(lambda given: {"other": given["sample"]})


def test_a_network_is_let_go_though_its_name_lives_on() -> None:
    toy = Toy()
    alive = weakref.ref(toy)
    gc.disable()
    try:
        with held(toy) as network:
            del toy
            network({"states": WORDS[0]["hidden"], "timestep": np.ones(1), "sample": np.zeros(SHAPE, np.float32)})
            assert alive() is not None
        assert network is not None
        assert alive() is None
    finally:
        gc.enable()
