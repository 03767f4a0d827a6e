"""How the models of a bundle are joined, read from the models themselves: for bundles that say nothing of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sdbuild.bundle.compiled import Compiled, read_compiled
from sdbuild.errors import UserError
from sdbuild.generate.tokenizer import END
from sdbuild.wiring import Part

SUFFIX = ".mlmodelc"
_DENOISER = {
    "sample": "latents",
    "timestep": "time",
    "encoder_hidden_states": "hidden",
    "time_ids": "sizes",
    "text_embeds": "pooled",
}
_CHECKER = {"clip_input": "view", "images": "canvas", "adjustment": "adjustment"}
_PADDING = (END, "!")  # of the first and the second text encoder, as the Swift package pads them


@dataclass(frozen=True)
class Family:
    """What is known of a family that no model of it says."""

    name: str
    vae_scale: float
    scheduler_overrides: Mapping[str, Any] = field(default_factory=dict)
    takes_sizes: bool = False
    context: int | None = None
    """Width of the embedding of each token, where it shows the family."""


FAMILIES = (
    Family("sdxl", 0.13025, takes_sizes=True),
    Family("sd2", 0.18215, {"steps_offset": 1}, context=1024),
    Family("sd1", 0.18215, {"steps_offset": 1}),
)
"""Those that bundles without a description of their networks may be of; the first that fits is taken."""


@dataclass(frozen=True)
class Denoiser:
    """The denoiser's part, and the sizes of what it takes."""

    part: Part
    batch: int
    channels: int
    height: int
    width: int
    context: int
    """Width of the embedding of each token."""
    tokens: int


def family_of(denoiser: Denoiser) -> Family:
    """The family that a denoiser is taken to be of."""
    takes_sizes = denoiser.part.input("sizes") is not None
    return next(
        family
        for family in FAMILIES
        if family.takes_sizes == takes_sizes and family.context in (None, denoiser.context)
    )


def infer_parts(resources: Path, names: Sequence[str], denoiser: Denoiser) -> tuple[Part, ...]:
    """The parts that the models in ``resources`` play, in the order they run.

    Raises:
        UserError: a text encoder is missing, or a model is damaged.
    """
    found = [*_text_encoders(resources, names, denoiser.part), denoiser.part]
    for name, role, component, taken, given in (
        ("VAEDecoder", "decoder", "vae_decoder", "latents", "image"),
        ("VAEEncoder", "encoder", "vae_encoder", "image", "moments"),
    ):
        if name in names:
            model = open_compiled(resources, name)
            ports = dict.fromkeys(_first(model.inputs), taken), dict.fromkeys(_first(model.outputs), given)
            found.append(Part(name=component, role=role, inputs=ports[0], outputs=ports[1], models=(name,)))
    if "SafetyChecker" in names:
        model = open_compiled(resources, "SafetyChecker")
        outputs = {"has_nsfw_concepts": "verdict"}
        if "concept_scores" in model.outputs:
            outputs["concept_scores"] = "scores"
        found.append(
            Part(name="safety_checker", role="checker", inputs=_CHECKER, outputs=outputs, models=("SafetyChecker",))
        )
    return tuple(found)


def _text_encoders(resources: Path, names: Sequence[str], denoiser: Part) -> list[Part]:
    """One, or two for a denoiser that takes an embedding of the whole prompt as well: the second one's."""
    pooled = "pooled" in denoiser.inputs.values()
    own = ("TextEncoder", "TextEncoder2") if denoiser.input("sizes") else ("TextEncoder",)
    found = []
    for number, (name, padding) in enumerate(zip(own, _PADDING, strict=False)):
        if name not in names:
            raise UserError(f"{resources}: no {name} among these models: {', '.join(names)}")
        outputs = {"hidden_embeds" if len(own) > 1 else "last_hidden_state": "hidden"}
        if pooled and name == own[-1]:
            outputs["pooled_outputs"] = "pooled"
        model = open_compiled(resources, name)
        if missing := [port for port in outputs if port not in model.outputs]:
            raise UserError(f"{resources}: {name} gives no {missing[0]}, which the denoiser needs")
        component = "text_encoder" if number == 0 else f"text_encoder_{number + 1}"
        inputs = dict.fromkeys(_first(model.inputs), "tokens")
        found.append(
            Part(name=component, role="text_encoder", inputs=inputs, outputs=outputs, padding=padding, models=(name,))
        )
    return found


def _first(ports: Iterable[str]) -> list[str]:
    """The first of a model's ports: where there is only one it may have any name."""
    return list(ports)[:1]


def infer_denoiser(resources: Path, names: Sequence[str]) -> Denoiser:
    """The denoiser; as in the app, chunks go before a whole one.

    Raises:
        UserError: it is missing, damaged, or takes what there is nothing to give for.
    """
    if "MultiModalDiffusionTransformer" in names:
        raise UserError(
            f"{resources}: models of Stable Diffusion 3, which can't be generated with; only those of 1, 2 and XL can"
        )
    chunks = [name for name in ("UnetChunk1", "UnetChunk2") if name in names]
    own = chunks if len(chunks) == 2 else ["Unet"]
    if own == ["Unet"] and "Unet" not in names:
        raise UserError(f"{resources}: no Unet, nor its two chunks, among these models: {', '.join(names)}")
    opened = [open_compiled(resources, name) for name in own]
    inputs = {name: feature.shape or () for model in reversed(opened) for name, feature in model.inputs.items()}
    passed = {name for model in opened for name in model.outputs}
    if unknown := sorted(set(inputs) - set(_DENOISER) - passed):
        raise UserError(f"{resources}: the UNet takes {', '.join(unknown)}, too, and there is nothing to give it")
    sample, states = inputs.get("sample", ()), inputs.get("encoder_hidden_states", ())
    if len(sample) != 4 or len(states) != 4 or min(*sample, *states) < 1:
        raise UserError(
            f"{resources}: the UNet takes sample {list(sample)} and encoder_hidden_states {list(states)}, and the Swift "
            "package gives [batch, channels, height, width] and [batch, width, 1, tokens]"
        )
    if sample[1] != 4:
        raise UserError(f"{resources}: the UNet takes {sample[1]} channels, so it is no text-to-image model of 4")
    if (times := inputs.get("time_ids")) and times[-1] in (5, 10):
        raise UserError(f"{resources}: the UNet is a refiner of SDXL, which can't be generated with alone")
    last = opened[-1].outputs
    noise = "noise_pred" if "noise_pred" in last else next(iter(last), "noise_pred")
    part = Part(
        name="unet",
        role="denoiser",
        inputs={port: signal for port, signal in _DENOISER.items() if port in inputs},
        outputs={noise: "noise"},
        models=tuple(own),
    )
    return Denoiser(part, *sample, states[1], states[3])


def open_compiled(resources: Path, name: str) -> Compiled:
    """A model's description. Raises UserError if it is damaged."""
    model, violations = read_compiled(resources / f"{name}{SUFFIX}", f"{name}{SUFFIX}")
    if model is None:
        raise UserError(f"{resources}/{violations[0].file}: {violations[0].what}; get the model again")
    return model
