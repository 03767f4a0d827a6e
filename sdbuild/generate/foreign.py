"""A Resources folder without ``manifest.json``, as Apple and others build it: what it would say, read from the models.

The models tell sizes, batch, widths and length of the prompt. They don't tell what the UNet predicts, nor the schedule of noise
and the scale of latent images: the one is asked for, the others are what the Swift package takes for granted.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sdbuild.bundle.compiled import Compiled, read_compiled
from sdbuild.bundle.manifest import tree_digest
from sdbuild.errors import UsageError, UserError
from sdbuild.generate.bundle import GUIDANCE, STEPS, Bundle, read_bundle
from sdbuild.generate.options import PREDICTIONS
from sdbuild.generate.places import find_place
from sdbuild.standins import stand_in_at

_SUFFIX = ".mlmodelc"
_SCALES = {"sd1": 0.18215, "sd2": 0.18215, "sdxl": 0.13025}
_VAE_FACTOR = 8  # of all families, where no shape tells it
_WIDTHS = {768: "sd1", 1024: "sd2"}
_CONDITIONS = frozenset({"sample", "timestep", "encoder_hidden_states", "time_ids", "text_embeds"})
_SCHEDULER = {
    "_class_name": "PNDMScheduler",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
}
"""The Swift package's, whatever the model."""


@dataclass(frozen=True)
class _Shapes:
    """What the UNet takes."""

    batch: int
    channels: int
    height: int
    width: int
    context: int
    tokens: int
    xl: bool


def open_bundle(path: Path, prediction_type: str | None = None, vae_scale: float | None = None) -> Bundle:
    """The bundle at ``path``, with a manifest or without; see `find_place` for where it may lie.

    Raises:
        UserError: there is none, it is damaged, or what was given contradicts its manifest.
    """
    if prediction_type not in (None, *PREDICTIONS):
        raise UsageError(f"prediction={prediction_type}: choose {' or '.join(PREDICTIONS)}")
    if vae_scale is not None and not 0 < vae_scale < math.inf:
        raise UsageError(f"vae_scale={vae_scale:g}: must be above 0, such as 0.18215")
    place = find_place(path)
    if not (place.folder / "manifest.json").is_file():
        return replace(read_foreign(place.folder, prediction_type, vae_scale), kept=place.kept)
    bundle = read_bundle(place.folder)
    for name, given, said in (
        ("prediction", prediction_type, bundle.scheduler.get("prediction_type")),
        ("vae_scale", vae_scale, bundle.vae_scale),
    ):
        if given is not None:
            raise UsageError(f"{name}=: the bundle's manifest.json says it ({said}): leave it out")
    return replace(bundle, kept=place.kept)


def read_foreign(resources: Path, prediction_type: str | None, vae_scale: float | None) -> Bundle:
    """The bundle whose models lie in ``resources``.

    Args:
        resources: a folder of compiled models, named as the Swift package opens them.
        prediction_type: "epsilon" or "v_prediction".
        vae_scale: latents are multiplied by it after encoding; None: by the family's constant.

    Raises:
        UserError: models are missing, damaged, or of a pipeline that is not drawn with; or the prediction is not said.
    """
    names = sorted(each.name.removesuffix(_SUFFIX) for each in resources.glob(f"*{_SUFFIX}") if each.is_dir())
    _refuse_stand_ins(resources)
    unet = _unet(resources, names)
    for name in ("TextEncoder", "TextEncoder2") if unet.xl else ("TextEncoder",):
        if name not in names:
            raise UserError(f"{resources}: no {name} among these models: {', '.join(names)}")
    factor, height, width = _sizes(resources, names, unet)
    pipeline = "sdxl" if unet.xl else _WIDTHS.get(unet.context, "sd1")
    if prediction_type is None:
        raise UsageError(
            f"{resources}: no manifest.json, and the models don't tell what the UNet predicts: give prediction=epsilon (nearly "
            "all models, and what the Swift package takes it for) or prediction=v_prediction (Stable Diffusion 2 for 768 "
            "pixels, some of SDXL)"
        )
    scale = _SCALES[pipeline] if vae_scale is None else vae_scale
    notes = [
        f"no manifest.json: drawn as {pipeline} of {width}x{height} with vae_scale {scale:g}, {prediction_type}, and the Swift "
        "package's schedule of noise"
    ]
    files = _digests(resources)
    return Bundle(
        resources=resources,
        pipeline=pipeline,
        height=height,
        width=width,
        channels=unet.channels,
        vae_factor=factor,
        vae_scale=scale,
        tokens=unet.tokens,
        scheduler={**_SCHEDULER, "prediction_type": prediction_type},
        sha256=tree_digest(files),
        models={name: tree_digest(_within(files, f"{name}{_SUFFIX}/")) for name in names},
        guidance=GUIDANCE,
        steps=STEPS,
        notes=tuple(notes),
    )


def _unet(resources: Path, names: list[str]) -> _Shapes:
    if "MultiModalDiffusionTransformer" in names:
        raise UserError(
            f"{resources}: models of Stable Diffusion 3, which can't be drawn with; only those of 1, 2 and XL can"
        )
    chunks = [name for name in ("UnetChunk1", "UnetChunk2") if name in names]
    own = chunks if len(chunks) == 2 else ["Unet"]
    if own == ["Unet"] and "Unet" not in names:
        raise UserError(f"{resources}: no Unet, nor its two chunks, among these models: {', '.join(names)}")
    opened = [_open(resources, name) for name in own]
    inputs = {name: feature.shape or () for model in reversed(opened) for name, feature in model.inputs.items()}
    passed = {name for model in opened for name in model.outputs}
    if unknown := sorted(set(inputs) - _CONDITIONS - passed):
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
        raise UserError(f"{resources}: the UNet is a refiner of SDXL, which can't be drawn with alone")
    return _Shapes(*sample, states[1], states[3], xl="time_ids" in inputs)


def _sizes(resources: Path, names: list[str], unet: _Shapes) -> tuple[int, int, int]:
    """Pixels for one latent pixel, height, width."""
    if "VAEDecoder" not in names:
        raise UserError(f"{resources}: no VAEDecoder among these models: {', '.join(names)}")
    decoder = _open(resources, "VAEDecoder")
    latents = [feature.shape for feature in decoder.inputs.values()]
    if latents != [(1, unet.channels, unet.height, unet.width)]:
        raise UserError(
            f"{resources}: VAEDecoder takes {', '.join(map(str, decoder.inputs.values())) or 'nothing'}, and the UNet gives "
            f"latent images [{unet.channels}, {unet.height}, {unet.width}]: the models are not of one bundle"
        )
    images = [feature.shape for feature in decoder.outputs.values()]
    if len(images) != 1 or images[0] is None or len(images[0]) != 4:
        return _VAE_FACTOR, _VAE_FACTOR * unet.height, _VAE_FACTOR * unet.width
    height, width = images[0][2:]
    factor = max(1, height // unet.height)
    if (height, width) != (factor * unet.height, factor * unet.width):
        raise UserError(
            f"{resources}: VAEDecoder gives images of {width}x{height}, and the UNet latent images of "
            f"{unet.width}x{unet.height}: the models are not of one bundle"
        )
    return factor, height, width


def _open(resources: Path, name: str) -> Compiled:
    model, violations = read_compiled(resources / f"{name}{_SUFFIX}", f"{name}{_SUFFIX}")
    if model is None:
        raise UserError(f"{resources}/{violations[0].file}: {violations[0].what}; get the model again")
    return model


def _refuse_stand_ins(resources: Path) -> None:
    """All files of the models at once, before the large ones are read: of a clone without Git LFS most are pointers."""
    for path in sorted(path for folder in resources.glob(f"*{_SUFFIX}") for path in folder.rglob("*")):
        if not path.name.startswith(".") and (wrong := stand_in_at(path)):
            raise UserError(f"{path}: it {wrong}")


def _digests(resources: Path) -> dict[str, dict[str, Any]]:
    """The SHA-256 of each file by its path, as a manifest has them."""
    found = {}
    try:
        for path in sorted(path for path in resources.rglob("*") if path.is_file()):
            with path.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
            found[path.relative_to(resources).as_posix()] = {"sha256": digest}
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror})") from None
    return found


def _within(files: Mapping[str, Mapping[str, Any]], folder: str) -> dict[str, Mapping[str, Any]]:
    return {path.removeprefix(folder): entry for path, entry in files.items() if path.startswith(folder)}
