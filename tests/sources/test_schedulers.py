"""What a model's scheduler and its VAE's scale come to: known kinds with a note where the app must help, others refused."""

import inspect
import json
import re
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from sdbuild.errors import UserError
from sdbuild.modeling.markers import markers_in
from sdbuild.recipe.scheduler import Scheduler
from sdbuild.scheduler_kinds import SCHEDULERS
from sdbuild.sources.schedulers import Schedule, resolve_scheduler, with_markers
from tests.execute import run, with_paths
from tests.sources.make_models import as_json, sd1, sdxl, write
from tests.sources.test_stages import planned

PLAIN = {
    "_class_name": "EulerDiscreteScheduler",
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
}


def surveyed(folder: Path, files: dict[str, bytes], pipeline: str = "sd1", **model: Any) -> tuple[Path, list[str]]:
    """What the stage config writes for a model, and its warnings."""
    write(files, folder / "model")
    graph = planned(folder, json.dumps({"source": "./model", **model}), pipeline=pipeline)
    warnings = list[str]()
    return run(with_paths(graph.tasks["config"], {}), folder, warn=warnings.append), warnings


def with_scheduler(**changes: Any) -> dict[str, bytes]:
    scheduler = PLAIN | changes
    index = {"scheduler": ["diffusers", scheduler["_class_name"]]}
    return sdxl(index=index) | {"scheduler/scheduler_config.json": as_json(scheduler)}


def test_what_the_swift_package_does_is_no_news(tmp_path: Path) -> None:
    output, warnings = surveyed(tmp_path, with_scheduler(timestep_spacing="leading"), "sdxl")
    settled = json.loads((output / "scheduler" / "scheduler_config.json").read_text())
    assert settled == PLAIN | {"timestep_spacing": "leading", "prediction_type": "epsilon"}
    assert warnings == json.loads((output / "notes.json").read_text()) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"prediction_type": "v_prediction"},
            "^images come out wrong with the Swift package's schedulers, PNDM and DPM-Solver\\+\\+, which can't do what the "
            "model's scheduler asks for: prediction_type is v_prediction, and they take the UNet's output for noise\\. The app",
        ),
        ({"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}, "zero terminal SNR"),
        ({"beta_schedule": "linear"}, "beta_schedule is linear, and they are made with beta_schedule scaled_linear, "),
        ({"trained_betas": [0.1, 0.2]}, "trained_betas"),
        ({"prediction_type": "v_prediction", "timestep_spacing": "trailing"}, "; timestep_spacing is trailing"),
        (
            {"_class_name": "LCMScheduler"},
            "as the model wants LCMScheduler, which .*; for the package as it is take",
        ),
        ({"_class_name": "TCDScheduler"}, "as the model wants TCDScheduler"),
    ],
)
def test_what_the_app_must_bring_is_said_and_written(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    output, warnings = surveyed(tmp_path, with_scheduler(**changes), "sdxl")
    (warning,) = warnings
    assert re.search(words, warning)
    assert "The app must bring a scheduler of its own" in warning
    assert json.loads((output / "notes.json").read_text()) == warnings
    settled = json.loads((output / "scheduler" / "scheduler_config.json").read_text())
    assert settled.items() >= changes.items()


def test_times_that_one_scheduler_of_the_package_visits(tmp_path: Path) -> None:
    output, (warning,) = surveyed(tmp_path, with_scheduler(timestep_spacing="trailing"), "sdxl")
    assert warning.startswith("timestep_spacing is trailing: of the Swift package's schedulers take DPM-Solver++ with")
    assert json.loads((output / "notes.json").read_text()) == [warning]
    for steps in range(1, 51):
        theirs = diffusers.EulerDiscreteScheduler(timestep_spacing="trailing")
        theirs.set_timesteps(steps)
        # as `DPMSolverMultistepScheduler.swift` of apple/ml-stable-diffusion has it at e12202c
        swift = np.round(np.linspace(0, 999, steps + 1))[:0:-1]
        assert np.abs(swift - theirs.timesteps.numpy()).max() <= 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}, "FlowMatchEuler.*means flow matching"),
        (
            {"prediction_type": "flow_prediction"},
            "prediction_type: flow_prediction in scheduler_config.json means flow m",
        ),
        (
            {"_class_name": "UniPCMultistepScheduler", "use_flow_sigmas": True},
            "use_flow_sigmas: true in scheduler_config.json means flow matching",
        ),
        ({"_class_name": "EDMEulerScheduler"}, "EDMEulerScheduler means EDM"),
        ({"sigma_data": 0.5}, "sigma_data: 0.5 in scheduler_config.json means EDM"),
        ({"prediction_type": "sample"}, "prediction_type: sample, .*known are epsilon, v_prediction"),
        ({"prediction_type": "velocity\x1b[31m"}, r'prediction_type: "velocity\\u001b\[31m"'),
        ({"prediction_type": None}, "prediction_type: null"),
        ({"prediction_type": ["epsilon"]}, r'prediction_type: \["epsilon"\]'),
        ({"_class_name": "VQDiffusionScheduler"}, "names VQDiffusionScheduler, which is no scheduler"),
        ({"_class_name": ["PNDMScheduler"]}, "which is no scheduler"),
        ({"beta_schedule": "cosine"}, "beta_schedule: cosine"),
        ({"timestep_spacing": "karras"}, "timestep_spacing: karras"),
        ({"beta_end": "0.012"}, "beta_end: 0.012, and it must be a number"),
        ({"beta_start": 0.5}, "beta_start: 0.5, and it must be less than beta_end"),
        ({"num_train_timesteps": True}, "num_train_timesteps: true"),
        ({"rescale_betas_zero_snr": "yes"}, "rescale_betas_zero_snr: yes"),
        ({"beta_end": 10**400}, "beta_end: 1000"),
        ({"beta_start": {}}, r"beta_start: \{\}"),
        ({"trained_betas": []}, r"trained_betas: \[\]"),
    ],
)
def test_what_no_pipeline_can_do_is_refused_by_name(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"^./model: .*{message}"):
        surveyed(tmp_path, with_scheduler(**changes), "sdxl")


def test_a_class_that_only_the_index_names(tmp_path: Path) -> None:
    """diffusers goes by it, too."""
    files = sdxl(index={"scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"]})
    files["scheduler/scheduler_config.json"] = as_json({"shift": 3.0})
    with pytest.raises(UserError, match="FlowMatchEulerDiscreteScheduler means flow matching"):
        surveyed(tmp_path, files, "sdxl")


def test_marks_beside_the_weights_go_before_the_configuration(tmp_path: Path) -> None:
    tensors = {"conv_in.weight": np.zeros(2, np.float32), "v_pred": np.zeros(0, np.float32), "model.ztsnr": np.zeros(0)}
    save_file(tensors, tmp_path / "one.safetensors")
    for name in ("damaged.safetensors", "damaged.bin"):
        (tmp_path / name).write_bytes(b"\1")
    assert markers_in(tmp_path) == {"v_pred", "ztsnr"}
    given = PLAIN | {"prediction_type": "epsilon", "timestep_spacing": "trailing"}
    schedule = with_markers(given, markers_in(tmp_path))
    assert schedule.config == given | {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    first, second, third = schedule.notes
    assert first.endswith(
        "by the mark v_pred beside the UNet's weights, and not epsilon as in the scheduler's configuration"
    )
    assert second.endswith("by the mark ztsnr beside the UNet's weights")
    assert "The app must bring a scheduler" in third
    assert with_markers(schedule.config, markers_in(tmp_path)) == Schedule(schedule.config, ())


@pytest.mark.parametrize("zipped", [True, False])
def test_marks_in_pickles(zipped: bool, tmp_path: Path) -> None:
    tensors = {"conv_in.weight": torch.zeros(2), "v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}
    torch.save({"state_dict": tensors}, tmp_path / "one.bin", _use_new_zipfile_serialization=zipped)
    assert markers_in(tmp_path) == {"v_pred", "ztsnr"}


def test_a_class_that_contradicts_the_index(tmp_path: Path) -> None:
    """diffusers makes the one that model_index.json names."""
    index = {"scheduler": ["diffusers", "LCMScheduler"]}
    schedule = resolve_scheduler("./model", {"_class_name": "DDIMScheduler"}, index)
    assert schedule.config["_class_name"] == "LCMScheduler"
    assert schedule.notes[0] == (
        "scheduler_config.json names DDIMScheduler, and model_index.json LCMScheduler: taken is LCMScheduler, as in diffusers"
    )
    for own, named in (("FlowMatchEulerDiscreteScheduler", "DDIMScheduler"), ("DDIMScheduler", "EDMEulerScheduler")):
        with pytest.raises(UserError, match=r"means (flow matching|EDM)"):
            resolve_scheduler("./model", {"_class_name": own}, {"scheduler": ["diffusers", named]})


def test_what_a_recipe_lays_over_it(tmp_path: Path) -> None:
    changes = {"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "trailing"}
    index = {"scheduler": ["diffusers", "PNDMScheduler"]}
    schedule = resolve_scheduler("./model", PLAIN | {"_class_name": "PNDMScheduler"}, index, changes)
    assert schedule.config == PLAIN | changes | {"prediction_type": "epsilon"}
    (note,) = schedule.notes  # and none that index and configuration contradict each other
    assert note.startswith("timestep_spacing is trailing")
    with pytest.raises(UserError, match=r"^./model: .*FlowMatchEulerDiscreteScheduler means flow matching"):
        resolve_scheduler("./model", {"_class_name": "FlowMatchEulerDiscreteScheduler"}, {}, changes)
    with pytest.raises(
        UserError, match=r"^./model, with the recipe's `model.scheduler`: .*beta_start: 0.5, and it must be"
    ):
        resolve_scheduler("./model", PLAIN, {}, {"beta_start": 0.5})
    output, _ = surveyed(tmp_path, with_scheduler(), "sdxl", scheduler=changes)
    written = json.loads((output / "scheduler" / "scheduler_config.json").read_text())
    assert written == PLAIN | changes | {"prediction_type": "epsilon"}


def test_what_a_recipe_may_say_of_a_scheduler_is_diffusers_own() -> None:
    classes = [getattr(diffusers, kind.class_name) for kind in SCHEDULERS.values()]
    known = {name for each in classes for name in inspect.signature(each.__init__).parameters}
    assert {field.alias or name for name, field in Scheduler.model_fields.items()} <= known | {"_class_name"}


def test_zero_terminal_snr_of_a_class_without_it() -> None:
    notes = resolve_scheduler(
        "model", PLAIN | {"_class_name": "PNDMScheduler", "rescale_betas_zero_snr": True}, {}
    ).notes
    assert any("PNDMScheduler of diffusers leaves rescale_betas_zero_snr unread" in note for note in notes)
    assert any("no `timestep_spacing: trailing`" in note for note in notes)


@pytest.mark.parametrize(
    ("pipeline", "vae", "message"),
    [
        ("sd1", {"scaling_factor": 0.13025}, r"of Stable Diffusion XL \(its config.json has scaling_factor: 0.13025\)"),
        ("sdxl", {"scaling_factor": 0.18215}, "of Stable Diffusion 1 and 2"),
        ("sd1", {"scaling_factor": 1.5305, "shift_factor": 0.0609}, "of Stable Diffusion 3"),
        ("sdxl", {"scaling_factor": 0.3611, "shift_factor": 0.1159}, "of Flux"),
        ("sd1", {"scaling_factor": 0}, "scaling_factor: 0, which is no scale"),
        ("sd1", {"scaling_factor": -0.18215}, "scaling_factor: -0.18215, which is no scale"),
    ],
)
def test_a_vae_of_another_space_is_refused(pipeline: str, vae: dict[str, Any], message: str, tmp_path: Path) -> None:
    files = {"sd1": sd1, "sdxl": sdxl}[pipeline](vae=vae)
    with pytest.raises(UserError, match=f"^./model: the VAE.* {message}"):
        surveyed(tmp_path, files, pipeline)


def test_a_named_vae_of_another_space_is_refused(tmp_path: Path) -> None:
    files = {path.removeprefix("vae/"): body for path, body in sd1().items() if path.startswith("vae/")}
    write(files, tmp_path / "other")
    with pytest.raises(UserError, match=r"^./other: .*has no scaling_factor, which means 0.18215.*name a VAE of that"):
        surveyed(tmp_path, sdxl(), "sdxl", vae="./other")


def test_a_scale_of_the_models_own_is_built_in(tmp_path: Path) -> None:
    files = sd1(
        vae={"scaling_factor": 0.25, "shift_factor": 0.5}, index={"scheduler": ["diffusers", PLAIN["_class_name"]]}
    )
    files["scheduler/scheduler_config.json"] = as_json(PLAIN)
    output, (warning,) = surveyed(tmp_path, files)
    assert "the VAE has scaling_factor 0.25 and shift_factor 0.5" in warning
    assert "by 0.18215: the difference is built into the VAE" in warning
    assert json.loads((output / "notes.json").read_text()) == [warning]
