"""A built bundle, as ``manifest.json`` describes it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdbuild.errors import UserError
from sdbuild.standins import ENOUGH, stand_in, stand_in_at

_PIPELINES = ("sd1", "sd2", "sdxl")
_SCHEMA = 1
_AGAIN = "run `doit build` again, or get the bundle again where it is not of your own making"
GUIDANCE, STEPS = 7.5, 20
"""For a bundle that says nothing of them."""


@dataclass(frozen=True)
class Bundle:
    """What there is to know before a model is loaded; see docs/manifest.md.

    Attributes:
        resources: the folder with the models.
        pipeline: the family, "sd1", "sd2" or "sdxl".
        height: of an image, in pixels.
        width: likewise.
        channels: of a latent image.
        vae_factor: pixels for one latent pixel, along each side.
        vae_scale: latents are multiplied by it after encoding.
        tokens: the length of a prompt.
        scheduler: the model's scheduler configuration.
        sha256: of all of ``resources``.
        models: the digests of the models, by their names.
        guidance: the model's best, or the usual one.
        steps: likewise.
        notes: what the user should know of it.
        kept: the folder with ``resources`` is there as long as this is not let go.
    """

    resources: Path
    pipeline: str
    height: int
    width: int
    channels: int
    vae_factor: int
    vae_scale: float
    tokens: int
    scheduler: Mapping[str, Any]
    sha256: str
    models: Mapping[str, str]
    guidance: float
    steps: int
    notes: tuple[str, ...] = ()
    kept: object = None

    @property
    def xl(self) -> bool:
        """Whether there are two text encoders, and conditions on the image's size."""
        return self.pipeline == "sdxl"

    @property
    def latent_shape(self) -> tuple[int, int, int, int]:
        """Of one image: [1, channels, height, width]."""
        return 1, self.channels, self.height // self.vae_factor, self.width // self.vae_factor

    def has(self, *names: str) -> bool:
        """Whether the bundle has these models."""
        return all(name in self.models for name in names)

    def model(self, name: str) -> Path:
        """The folder of a model.

        Raises:
            UserError: there is none of that name.
        """
        if name not in self.models:
            raise UserError(f"{self.resources}: no {name} in this bundle, which has {', '.join(sorted(self.models))}")
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
    if fields.get(int, "schema") != _SCHEMA:
        raise UserError(f"{path}: written by another version of sdbuild; {_AGAIN}")
    pipeline = fields.get(str, "pipeline")
    if pipeline not in _PIPELINES:
        raise UserError(
            f"{path}: drawing with a pipeline {pipeline} is not supported, only with {', '.join(_PIPELINES)}"
        )
    resources = folder / "Resources"
    if not resources.is_dir():
        resources = folder  # an unpacked zip has all in one folder
    _check_files(resources, fields)
    return Bundle(
        resources=resources,
        pipeline=pipeline,
        height=fields.get(int, "image", "height"),
        width=fields.get(int, "image", "width"),
        channels=fields.get(int, "latents", "channels"),
        vae_factor=fields.get(int, "latents", "vae_factor"),
        vae_scale=float(fields.get((int, float), "latents", "vae_scale")),
        tokens=fields.get(int, "prompt", "tokens"),
        scheduler=fields.get(dict, "scheduler"),
        sha256=fields.get(str, "sha256"),
        models={name: fields.get(str, "models", name, "sha256") for name in fields.get(dict, "models")},
        guidance=float(fields.get((int, float), "defaults", "guidance", default=GUIDANCE)),
        steps=fields.get(int, "defaults", "steps", default=STEPS),
    )


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
            found = "is missing" if value is None else f"is {value!r}"
            raise UserError(f"{self.path}: damaged, {'.'.join(keys)} {found}; {_AGAIN}")
        return value


def _check_files(resources: Path, fields: _Fields) -> None:
    """Each file is there and as long as it was; digests would take as long to compute as an image to draw."""
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
