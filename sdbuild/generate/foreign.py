"""A Resources folder without ``manifest.json``, as Apple and others build it: what it would say, read from the models.

The descriptions of models have sizes, batch, widths and length of the prompt. They do not have what the UNet predicts, nor the
schedule of noise and the scale of latent images: the one is asked for, the others are what the Swift package takes for granted.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sdbuild.bundle.manifest import tree_digest
from sdbuild.errors import UsageError, UserError
from sdbuild.flow.facts import Facts
from sdbuild.generate.bundle import Bundle, read_bundle
from sdbuild.generate.inference import SUFFIX, Denoiser, family_of, infer_denoiser, infer_parts, open_compiled
from sdbuild.generate.options import MAX_SCALE, MIN_SCALE, PREDICTIONS
from sdbuild.generate.places import find_place
from sdbuild.generate_variables import GUIDANCE, STEPS
from sdbuild.standins import stand_in_at

_VAE_FACTOR = 8  # of all families, where no shape says it
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


def open_bundle(path: Path, prediction_type: str | None = None, vae_scale: float | None = None) -> Bundle:
    """The bundle at ``path``, with a manifest or without; see `find_place` for where it may lie.

    Raises:
        UserError: there is none, it is damaged, or what was given contradicts its manifest.
    """
    if prediction_type not in (None, *PREDICTIONS):
        raise UsageError(f"prediction={prediction_type}: choose {' or '.join(PREDICTIONS)}")
    if vae_scale is not None and not MIN_SCALE <= vae_scale <= MAX_SCALE:
        raise UsageError(f"vae_scale={vae_scale:g}: must be from {MIN_SCALE:g} to {MAX_SCALE:g}, such as 0.18215")
    place = find_place(path)
    if not (place.folder / "manifest.json").is_file():
        return replace(read_foreign(place.folder, prediction_type, vae_scale), kept=place.kept)
    bundle = read_bundle(place.folder)
    for name, given, said in (
        ("prediction", prediction_type, bundle.facts.scheduler.get("prediction_type")),
        ("vae_scale", vae_scale, bundle.facts.vae_scale),
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
        UserError: models are missing, damaged, or of a pipeline that can't be generated with; or the prediction is not said.
    """
    names = sorted(each.name.removesuffix(SUFFIX) for each in resources.glob(f"*{SUFFIX}") if each.is_dir())
    _refuse_stand_ins(resources)
    denoiser = infer_denoiser(resources, names)
    parts = infer_parts(resources, names, denoiser)
    factor, height, width = _sizes(resources, names, denoiser)
    family = family_of(denoiser)
    if prediction_type is None:
        raise UsageError(
            f"{resources}: no manifest.json, and the models don't say what the UNet predicts: give prediction=epsilon (nearly "
            "all models, and what the Swift package takes it for) or prediction=v_prediction (Stable Diffusion 2 for 768 "
            "pixels, some of SDXL)"
        )
    scale = family.vae_scale if vae_scale is None else vae_scale
    notes = [
        f"no manifest.json: taken for {family.name} of {width}x{height} with vae_scale {scale:g}, {prediction_type}, and the "
        "Swift package's schedule of noise"
    ]
    files = _digests(resources)
    return Bundle(
        resources=resources,
        pipeline=family.name,
        facts=Facts(
            height=height,
            width=width,
            tokens=denoiser.tokens,
            batch=denoiser.batch,
            latent_channels=denoiser.channels,
            vae_factor=factor,
            vae_scale=scale,
            scheduler={**_SCHEDULER, "prediction_type": prediction_type},
            scheduler_overrides=family.scheduler_overrides,
            parts=parts,
        ),
        sha256=tree_digest(files),
        models={name: tree_digest(_within(files, f"{name}{SUFFIX}/")) for name in names},
        guidance=GUIDANCE,
        steps=STEPS,
        notes=tuple(notes),
    )


def _sizes(resources: Path, names: list[str], denoiser: Denoiser) -> tuple[int, int, int]:
    """Pixels for one latent pixel, height, width."""
    if "VAEDecoder" not in names:
        raise UserError(f"{resources}: no VAEDecoder among these models: {', '.join(names)}")
    decoder = open_compiled(resources, "VAEDecoder")
    latents = [feature.shape for feature in decoder.inputs.values()]
    if latents != [(1, denoiser.channels, denoiser.height, denoiser.width)]:
        raise UserError(
            f"{resources}: VAEDecoder takes {', '.join(map(str, decoder.inputs.values())) or 'nothing'}, and the UNet gives "
            f"latent images [{denoiser.channels}, {denoiser.height}, {denoiser.width}]: the models are not of one bundle"
        )
    images = [feature.shape for feature in decoder.outputs.values()]
    if len(images) != 1 or images[0] is None or len(images[0]) != 4:
        return _VAE_FACTOR, _VAE_FACTOR * denoiser.height, _VAE_FACTOR * denoiser.width
    height, width = images[0][2:]
    factor = max(1, height // denoiser.height)
    if (height, width) != (factor * denoiser.height, factor * denoiser.width):
        raise UserError(
            f"{resources}: VAEDecoder gives images of {width}x{height}, and the UNet latent images of "
            f"{denoiser.width}x{denoiser.height}: the models are not of one bundle"
        )
    return factor, height, width


def _refuse_stand_ins(resources: Path) -> None:
    """All files of the models at once, before the large ones are read: of a clone without Git LFS most are pointers."""
    for path in sorted(path for folder in resources.glob(f"*{SUFFIX}") for path in folder.rglob("*")):
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
