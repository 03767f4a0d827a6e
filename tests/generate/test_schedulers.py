"""Schedulers are set up as diffusers' pipelines set them up."""

import json
from typing import Any, get_args

import diffusers
import pytest
import torch

from sdbuild.coreml.runtime.storage import DEVICES, Precision
from sdbuild.errors import UserError
from sdbuild.flow.facts import Rng
from sdbuild.flow.rehearsal import rehearse
from sdbuild.flow.schedulers import make_scheduler
from sdbuild.generate.schedulers import choose_kind, find_scheduler
from sdbuild.generate_variables import CHOICES
from sdbuild.scheduler_kinds import SCHEDULERS
from tests.generate.bundles import MODEL

CONFIG: dict[str, Any] = json.loads((MODEL / "scheduler" / "scheduler_config.json").read_text())
V = CONFIG | {"prediction_type": "v_prediction"}


def test_completion_offers_what_there_is() -> None:
    assert CHOICES["scheduler"] == tuple(SCHEDULERS)
    assert (
        CHOICES["rng"] == get_args(Rng) and CHOICES["precision"] == get_args(Precision) and CHOICES["device"] == DEVICES
    )


def made(name: str | None, numbers: dict[str, Any], steps: int, **overrides: Any) -> Any:
    return make_scheduler(choose_kind(name, numbers), numbers, steps, overrides)


def first_steps(scheduler: Any) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    sample, noise = torch.randn((2, 1, 4, 8, 8), generator=generator)
    sample = sample * scheduler.init_noise_sigma
    found = []
    more = {"generator": generator} if "generator" in scheduler.step.__code__.co_varnames else {}
    for time in scheduler.timesteps[:3]:
        scaled = scheduler.scale_model_input(sample, time)
        sample = scheduler.step(noise, time, sample, **more).prev_sample
        found += [scaled, sample]
    return found


@pytest.mark.parametrize("config", [CONFIG, V], ids=["epsilon", "v"])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_each_as_diffusers_makes_it(name: str, config: dict[str, Any]) -> None:
    if name == "lms":
        pytest.importorskip("scipy", reason="diffusers' LMS scheduler integrates with it")
    kind = SCHEDULERS[name]
    theirs = getattr(diffusers, kind.class_name).from_config(config, **kind.settings)
    theirs.set_timesteps(7)
    own = made(name, config, 7)
    assert type(own) is type(theirs)
    assert torch.equal(torch.as_tensor(own.timesteps), torch.as_tensor(theirs.timesteps))
    for ours, wanted in zip(first_steps(own), first_steps(theirs), strict=True):
        assert torch.equal(ours, wanted)


def test_the_models_own_and_the_default() -> None:
    own = made(None, CONFIG | {"_class_name": "EulerDiscreteScheduler"}, 5)
    assert isinstance(own, diffusers.EulerDiscreteScheduler)
    unnamed = {key: value for key, value in CONFIG.items() if key != "_class_name"}
    assert isinstance(made(None, unnamed, 5), diffusers.PNDMScheduler)


def test_old_configurations_are_corrected_as_in_diffusers_pipelines() -> None:
    old = {key: CONFIG[key] for key in ("beta_start", "beta_end", "beta_schedule", "num_train_timesteps")}
    own = made("ddim", old, 5, steps_offset=1)
    assert (own.config.clip_sample, own.config.steps_offset) == (False, 1)
    assert made("ddim", old | {"steps_offset": 0}, 5).config.steps_offset == 0


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("ddim", "ddim"),
        ("DDIMScheduler", "ddim"),
        ("DPMSolverMultistep", "dpmpp"),
        ("Euler A", "euler_a"),
        ("euler-ancestral-discrete", "euler_a"),
        ("DPMPP-Karras", "dpmpp_karras"),
    ],
)
def test_names_as_people_write_them(written: str, name: str) -> None:
    assert find_scheduler(written) == name


@pytest.mark.parametrize(("written", "hint"), [("unipcc", ": did you mean 'unipc'?"), ("quantum", "\n"), ("", "\n")])
def test_unknown_names(written: str, hint: str) -> None:
    with pytest.raises(UserError) as caught:
        find_scheduler(written)
    assert str(caught.value).startswith(f"scheduler={written}: unknown{hint}")
    assert "Schedulers: ddim, ddpm, pndm" in str(caught.value)


def test_what_diffusers_refuses_is_one_message() -> None:
    with pytest.raises(UserError, match="own scheduler FlowMatchEulerDiscreteScheduler is not supported: choose"):
        made(None, CONFIG | {"_class_name": "FlowMatchEulerDiscreteScheduler"}, 5)
    with pytest.raises(UserError, match="scheduler LCMScheduler: 900 steps cannot be made"):
        made("lcm", CONFIG, 900)
    with pytest.raises(UserError, match="scheduler DDIMScheduler: 5 steps cannot be made"):
        made("ddim", CONFIG | {"beta_schedule": "wavy"}, 5)


@pytest.mark.parametrize(
    ("name", "strength", "why"),
    [
        (None, None, "index 1000 is out of bounds"),
        ("ddim", None, "index 1000 is out of bounds"),
        ("ddpm", None, "index 1000 is out of bounds"),
        ("deis", None, "index 1001 is out of bounds"),
        ("dpmpp", 0.1, "numbers that are not finite come of them"),
        ("unipc", None, "AssertionError"),
    ],
)
def test_steps_that_a_scheduler_accepts_and_cannot_take(name: str | None, strength: float | None, why: str) -> None:
    with pytest.raises(
        UserError, match=f"can't take 1000 steps on a schedule of noise of 1000 times .{why}.*: take fewer"
    ):
        rehearse(made(name, CONFIG, 1000), 1000, strength)


def test_a_schedule_of_one_time() -> None:
    with pytest.raises(UserError, match=r"can't take 1 step on a schedule of noise of 1 time \(.*: choose another sch"):
        rehearse(made(None, CONFIG | {"num_train_timesteps": 1}, 1), 1)


@pytest.mark.parametrize("name", [None, *SCHEDULERS])
@pytest.mark.parametrize("more", [{}, {"timestep_spacing": "trailing", "prediction_type": "v_prediction"}])
def test_steps_that_every_scheduler_takes(name: str | None, more: dict[str, Any]) -> None:
    for steps, strength in ((1, None), (20, None), (20, 0.6)):
        rehearse(made(name, CONFIG | more, steps), steps, strength)
