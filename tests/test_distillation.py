"""LoRAs for few steps, by their authors' file names and by some that only look like it."""

import pytest

from sdbuild.distillation import Wants, recognize

KNOWN = {
    "latent-consistency/lcm-lora-sdv1-5": ("LCM", (2, 8), "lcm"),
    "latent-consistency/lcm-lora-sdxl": ("LCM", (2, 8), "lcm"),
    "LCM_LoRA_Weights_SD15.safetensors": ("LCM", (2, 8), "lcm"),
    "sdxl_lightning_4step_lora.safetensors": ("Lightning", (4, 8), "euler"),
    "ByteDance/SDXL-Lightning": ("Lightning", (2, 8), "euler"),
    "Hyper-SD15-8steps-lora.safetensors": ("Hyper-SD", (8, 16), "ddim"),
    "Hyper-SDXL-1step-lora.safetensors": ("Hyper-SD", (1, 8), "tcd"),
    "Hyper-SDXL-12steps-CFG-lora.safetensors": ("Hyper-SD with guidance", (12, 24), "ddim"),
    "h1t/TCD-SDXL-LoRA": ("TCD", (2, 50), "tcd"),
    "dmd2_sdxl_4step_lora_fp16.safetensors": ("DMD2", (4, 8), "lcm"),
    "pcm_sd15_smallcfg_2step_converted.safetensors": ("PCM", (2, 4), "ddim"),
    "pcm_sdxl_lcmlike_lora_converted.safetensors": ("PCM", (2, 16), "lcm"),
    "jasperai/flash-sdxl": ("Flash Diffusion", (2, 8), "lcm"),
    "sd_xl_turbo_lora_v1.safetensors": ("Turbo", (1, 8), "euler_a"),
}


@pytest.mark.parametrize("name", KNOWN)
def test_names_of_authors_are_known(name: str) -> None:
    kind, steps, scheduler = KNOWN[name]
    found = recognize([("its name", "ink.safetensors"), ("its name", name)])
    assert found is not None
    wants, by = found
    assert (wants.kind, wants.steps, wants.schedulers[0], by) == (kind, steps, scheduler, f"its name, {name}")
    assert Wants.read(wants.data(by)) == wants
    assert wants.missing(wants.recommended(), {"timestep_spacing": wants.timestep_spacing}) == []


@pytest.mark.parametrize(
    "name",
    [
        "ink.safetensors",
        "lightning_strikes.safetensors",
        "turbocharged.safetensors",
        "my_lora_turbocharged",
        "hyperrealism-xl",
        "welcome",
        "1500steps",
        "",
    ],
)
def test_other_names_are_not(name: str) -> None:
    assert recognize([("its name", name)]) is None


def test_what_is_otherwise_is_named() -> None:
    found = recognize([("its name", "sdxl_lightning_4step_lora")])
    assert found is not None
    wants, _ = found
    assert wants.missing({}, {}) == [
        "20 steps by default",
        "guidance of 7.5 by default",
        "the model's own scheduler by default",
        "no timestep_spacing",
    ]
    assert wants.missing(
        {"steps": 4, "guidance": 0}, {"_class_name": "PNDMScheduler", "timestep_spacing": "trailing"}
    ) == ["the model's own scheduler by default"]
    euler = {"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "trailing"}
    assert wants.missing({"steps": 4, "guidance": 0}, euler) == []
    assert wants.missing({"steps": 2, "guidance": 0, "scheduler": "euler"}, {"timestep_spacing": "leading"}) == [
        "2 steps",
        "timestep_spacing leading",
    ]
    assert wants.recommended()["steps"] == 4
    two = recognize([("its name", "sdxl_lightning_2step_lora")])
    assert two is not None and two[0].recommended()["steps"] == 2
    assert wants.advice() == (
        "write generate: {steps: 4, guidance: 1, scheduler: euler}, and scheduler: {timestep_spacing: trailing} under model:"
    )
