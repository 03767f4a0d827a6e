"""A built bundle, as ``manifest.json`` describes it."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdbuild.errors import UserError
from sdbuild.flow.facts import Facts
from sdbuild.generate.inference import FAMILIES, infer_denoiser, infer_parts
from sdbuild.generate.options import MAX_SCALE, MIN_SCALE, PREDICTIONS
from sdbuild.generate_variables import GUIDANCE, STEPS
from sdbuild.noise_schedule import find_fault
from sdbuild.scheduler_kinds import SCHEDULERS
from sdbuild.standins import ENOUGH, stand_in, stand_in_at
from sdbuild.wiring import GIVES, ROLES, Part, part_of

_SCHEMA, _WITHOUT_NETWORKS = 2, 1
"""Versions of the manifest: that of today, and the one that did not say how the networks are joined."""
_AGAIN = "run `doit build` again, or get the bundle again where it is not of your own making"
_PREDICTIONS = (*PREDICTIONS, "sample")
"""What diffusers' schedulers know."""


@dataclass(frozen=True)
class Bundle:
    """What there is to know before a model is loaded; see docs/manifest.md."""

    resources: Path
    """The folder with the models."""
    pipeline: str
    """The name of its family."""
    facts: Facts
    """What its flow goes by."""
    sha256: str
    """Of all of ``resources``."""
    models: Mapping[str, str]
    """The digests of the models, by their names."""
    guidance: float
    """The model's best, or the usual one."""
    steps: int
    """Likewise."""
    scheduler: str | None = None
    """Likewise, by a key of `SCHEDULERS`; None: the model's own."""
    built_in: float | None = None
    """The guidance scale that the denoiser was built with: it takes no other."""
    notes: tuple[str, ...] = ()
    """What the user should know of it."""
    kept: object = None
    """The folder with ``resources`` is there as long as this is not let go."""

    def needed(self, part: Part | None, role: str) -> Part:
        """A part that no image can be generated without.

        Raises:
            UserError: there is none.
        """
        if part is None:
            has = ", ".join(f"{each.name} ({each.role})" for each in self.facts.parts) or "no networks"
            raise UserError(f"{self.resources}: no {role} in this bundle, which has {has}")
        return part

    def model(self, name: str) -> Path:
        """The folder of a model.

        Raises:
            UserError: there is none of that name.
        """
        if name not in self.models:
            raise UserError(
                f"{self.resources}: no {name} in this bundle, which has {', '.join(sorted(self.models)) or 'no models'}"
            )
        return self.resources / f"{name}.mlmodelc"


def read_bundle(folder: Path) -> Bundle:
    """Read a bundle that has a ``manifest.json``: what ``doit build`` put into ``folder``, or what an unpacked zip holds.

    Raises:
        UserError: there is no bundle, or it is damaged or of another kind.
    """
    path = folder / "manifest.json"
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{folder}: no bundle there (it has no manifest.json): name what `doit build` made") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if wrong := stand_in(content[:ENOUGH]):
        raise UserError(f"{path}: it {wrong}")
    try:
        manifest = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: damaged, it is not JSON ({error}); {_AGAIN}") from None
    fields = _Fields(path, manifest)
    if fields.get(int, "schema") not in (_SCHEMA, _WITHOUT_NETWORKS):
        raise UserError(f"{path}: written by another version of sdbuild; {_AGAIN}")
    resources = folder / "Resources"
    if not resources.is_dir():
        resources = folder  # an unpacked zip has all in one folder
    _check_files(resources, fields)
    models = {name: fields.get(str, "models", name, "sha256") for name in fields.get(dict, "models")}
    described = _networks if fields.get(int, "schema") == _SCHEMA else _inferred_networks
    return Bundle(
        resources=resources,
        pipeline=fields.get(str, "pipeline"),
        facts=Facts(
            height=fields.positive(int, "image", "height"),
            width=fields.positive(int, "image", "width"),
            tokens=fields.positive(int, "prompt", "tokens"),
            latent_channels=fields.positive(int, "latents", "channels"),
            vae_factor=fields.positive(int, "latents", "vae_factor"),
            vae_scale=_vae_scale(fields),
            scheduler=_scheduler(fields),
            **described(fields, resources, list(models)),
        ),
        sha256=fields.get(str, "sha256"),
        models=models,
        guidance=_guidance(fields),
        steps=fields.positive(int, "defaults", "steps", default=STEPS),
        scheduler=_default_scheduler(fields),
        built_in=_built_in(fields),
    )


def _networks(fields: "_Fields", _resources: Path, models: Sequence[str]) -> dict[str, Any]:
    """What a manifest says of the networks."""
    parts: list[Part] = []
    for number, network in enumerate(fields.get(list, "networks")):
        try:
            part = part_of(network)
        except (TypeError, KeyError, ValueError):
            raise UserError(f"{fields.path}: damaged, networks.{number} is {network!r}; {_AGAIN}") from None
        if part.role not in ROLES:
            raise UserError(
                f"{fields.path}: generating with a {part.role} ({part.name}) is not supported, only with these: "
                f"{', '.join(ROLES)}"
            )
        if not part.models or len(set(part.models)) < len(part.models):
            models = f"has a model more than once ({', '.join(part.models)})" if part.models else "has no models"
            raise UserError(f"{fields.path}: damaged, {part.name} {models}; {_AGAIN}")
        if part.name in (other.name for other in parts):
            raise UserError(f"{fields.path}: damaged, {part.name} is there twice under networks; {_AGAIN}")
        if missing := [name for name in part.models if name not in models]:
            raise UserError(f"{fields.path}: damaged, {part.name} has no {missing[0]} under models; {_AGAIN}")
        if (signal := GIVES[part.role]) not in part.outputs.values():
            raise UserError(f"{fields.path}: damaged, {part.name} is a {part.role} and gives no {signal}; {_AGAIN}")
        parts.append(part)
    return {
        "parts": tuple(parts),
        "batch": fields.positive(int, "denoiser", "batch"),
        "scheduler_overrides": fields.get(dict, "scheduler_overrides"),
    }


def _inferred_networks(fields: "_Fields", resources: Path, models: Sequence[str]) -> dict[str, Any]:
    """What an older manifest did not say, read from the models."""
    pipeline = fields.get(str, "pipeline")
    families = {family.name: family for family in FAMILIES}
    if pipeline not in families:
        raise UserError(
            f"{fields.path}: generating with a pipeline {pipeline} is not supported, only with {', '.join(sorted(families))}"
        )
    denoiser = infer_denoiser(resources, models)
    return {
        "parts": infer_parts(resources, models, denoiser),
        "batch": denoiser.batch,
        "scheduler_overrides": families[pipeline].scheduler_overrides,
    }


def _scheduler(fields: "_Fields") -> dict[str, Any]:
    """The numbers of the scheduler; what diffusers does not look at before the first step is looked at here."""
    scheduler: dict[str, Any] = fields.get(dict, "scheduler")
    if fault := find_fault(scheduler):
        key, wanted = fault
        raise fields.damaged(scheduler.get(key), ("scheduler", key), wanted)
    if (prediction := scheduler.get("prediction_type", "epsilon")) not in _PREDICTIONS:
        raise UserError(f"{fields.path}: damaged, scheduler.prediction_type is {prediction!r}; {_AGAIN}")
    return scheduler


def _vae_scale(fields: "_Fields") -> float:
    scale = float(fields.positive((int, float), "latents", "vae_scale"))
    if not MIN_SCALE <= scale <= MAX_SCALE:
        raise fields.damaged(scale, ("latents", "vae_scale"), f"from {MIN_SCALE:g} to {MAX_SCALE:g}")
    return scale


def _guidance(fields: "_Fields") -> float:
    guidance = float(fields.get((int, float), "defaults", "guidance", default=GUIDANCE))
    if not 0 <= guidance < math.inf:
        raise fields.damaged(guidance, ("defaults", "guidance"), "a number from 0")
    return guidance


def _default_scheduler(fields: "_Fields") -> str | None:
    name: str = fields.get(str, "defaults", "scheduler", default="")
    if name and name not in SCHEDULERS:
        raise fields.damaged(name, ("defaults", "scheduler"), f"one of {', '.join(SCHEDULERS)}")
    return name or None


def _built_in(fields: "_Fields") -> float | None:
    scale = float(fields.get((int, float), "denoiser", "guidance_embedding", default=0))
    return scale or None


class _Fields:
    """Typed access to a manifest."""

    def __init__(self, path: Path, manifest: Any) -> None:
        self.path = path
        self._manifest = manifest

    def get(self, kind: Any, *keys: str, default: Any = None) -> Any:
        value = self._manifest
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        if value is None:
            value = default
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self.damaged(value, keys)
        return value

    def positive(self, kind: Any, *keys: str, default: Any = None) -> Any:
        """A number above 0."""
        value = self.get(kind, *keys, default=default)
        if not 0 < value < math.inf:
            raise self.damaged(value, keys)
        return value

    def damaged(self, value: Any, keys: Sequence[str], wanted: str = "") -> UserError:
        """The error for a value that cannot be; ``wanted`` is what it must be, where that is not plain."""
        found = "is missing" if value is None else f"is {value!r}"
        must = f", and must be {wanted}" if wanted else ""
        return UserError(f"{self.path}: damaged, {'.'.join(keys)} {found}{must}; {_AGAIN}")


def _check_files(resources: Path, fields: _Fields) -> None:
    """Each file is there and as long as it was; digests would take as long to compute as an image takes to generate."""
    for name in fields.get(dict, "files"):
        size, path = fields.get(int, "files", name, "size"), resources / name
        try:
            found = path.stat().st_size
        except OSError:
            raise UserError(f"{path}: missing; {_AGAIN}") from None
        if found != size and (wrong := stand_in_at(path)):
            raise UserError(f"{path}: it {wrong}")
        if found != size:
            raise UserError(f"{path}: {found} bytes long, {size} when it was built; {_AGAIN}")
