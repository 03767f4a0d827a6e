"""``doit generate``: generate images with built bundles, as PNGs, and put several on a sheet."""

import hashlib
import itertools
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdbuild.coreml.runtime.storage import Storage
from sdbuild.errors import UserError
from sdbuild.generate.images import GeneratedImage, write_png
from sdbuild.generate.pipeline import Pipeline
from sdbuild.generate.progress import show_progress
from sdbuild.generate.request import Request, read_request
from sdbuild.generate.sheet import Row, common, make_sheet

_COLUMNS = 8
_UNSAFE = "the bundle's safety checker found that it should not be shown"
_SLUG_CHARACTERS, _SLUG_BYTES = 60, 120


@dataclass(frozen=True)
class BundleAt:
    """A built bundle: its recipe's name, its folder, and its variant where the recipe has several."""

    recipe: str
    folder: Path
    variant: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What a run gave."""

    images: tuple[Mapping[str, Any], ...]
    """Each with ``path`` (None: withheld), ``variant`` (None: the recipe has none), ``prompt`` and ``seed``."""
    sheet: Path | None
    notes: tuple[str, ...]

    @property
    def written(self) -> list[Path]:
        """The files, the sheet last."""
        paths = [Path(image["path"]) for image in self.images if image["path"]]
        return [*paths, self.sheet] if self.sheet else paths


def run(bundles: Sequence[BundleAt], variables: Mapping[str, str], here: Path, *, print_paths: bool = True) -> Outcome:
    """Generate the same prompts with each of the bundles, all of one recipe, for a user who stands in ``here``.

    Images are written as soon as a bundle has generated all of its own, but for those that its safety checker withholds; with
    more than one image a sheet follows, which has the variants side by side. Paths go to the standard output, progress and
    remarks to the standard error.

    Args:
        bundles: at least one.
        variables: those of `sdbuild.generate_variables`.
        here: what paths in variables are relative to.
        print_paths: of the files, as soon as they are written.

    Raises:
        UserError: anything that the user can mend; all that can be known beforehand is said before anything is generated.
    """
    request = read_request(variables, here)
    Storage.of(request.precision, request.device)  # is there such a device?
    pipelines = [(bundle, _open(bundle, request)) for bundle in bundles]
    for _, pipeline in pipelines:
        pipeline.check(request.options)
    out = request.out or here / "build" / "images" / bundles[0].recipe
    _check_writable(out)
    written: list[dict[str, Any]] = []
    notes: list[str] = []
    generated = []

    def report(path: Path) -> None:
        if print_paths:
            print(path.relative_to(here) if path.is_relative_to(here) else path)

    for bundle, pipeline in pipelines:
        label = f"{bundle.recipe}@{bundle.variant}" if bundle.variant else bundle.recipe
        with show_progress(sys.stderr) as progress:
            images = pipeline.generate_all(
                request.prompts,
                request.seeds,
                request.options,
                lambda what, done, total, label=label: progress(f"{label}: {what}", done, total),  # type: ignore[misc]
            )
        own = list(dict.fromkeys(note for image in images for note in image.notes))
        folder = out / bundle.variant if bundle.variant else out
        wanted = itertools.product(request.prompts, request.seeds)
        for image, stem, (prompt, seed) in zip(images, _stems(request), wanted, strict=True):
            path = None if image.withheld else image.save(folder / f"{stem}.png")
            if path is None:
                own.append(f"{label}: {stem}.png is withheld, as in the app: {_UNSAFE}")
            else:
                report(path)
            written.append({"path": path and str(path), "variant": bundle.variant, "prompt": prompt, "seed": seed})
        for note in own:
            print(f"note: {note}", file=sys.stderr)
        notes += own
        generated.append(images)
    if all(image["path"] is None for image in written):
        raise UserError(f"nothing to show: {_UNSAFE}; try another seed= or prompt=")
    sheet = None
    if sum(image["path"] is not None for image in written) > 1:
        sheet = out / f"{_sheet_stem(request)}.png"
        rows = list(_rows(request, bundles, generated))
        write_png(make_sheet(rows), sheet, common([image for row in generated for image in row]))
        report(sheet)
    return Outcome(tuple(written), sheet, tuple(dict.fromkeys(notes)))


def _open(bundle: BundleAt, request: Request) -> Pipeline:
    return Pipeline.open(
        bundle.folder,
        name=bundle.recipe,
        variant=bundle.variant,
        precision=request.precision,  # type: ignore[arg-type]  # the request checked it
        device=request.device,
        decoded_bytes=request.memory,
        prediction_type=request.prediction,
        vae_scale=request.vae_scale,
    )


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"out={folder}: cannot be written to ({error.strerror})") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"out={folder}: cannot be written to (Permission denied)")


def _stems(request: Request) -> list[str]:
    """A file name without its ending for each image; prompts whose names would be the same are numbered."""
    names: dict[str, int] = {}
    stems = []
    for prompt in request.prompts:
        name = _slug(prompt)
        names[name] = names.get(name, 0) + 1
        unique = name if names[name] == 1 else f"{name}-{names[name]}"
        stems += [f"{unique}-{seed}" for seed in request.seeds]
    return stems


def _sheet_stem(request: Request) -> str:
    """A file name without its ending for the sheet, which another set of prompts or seeds does not get."""
    first, *others = request.prompts
    parts = [_slug(first)]
    if others:
        digest = hashlib.sha256("\0".join(request.prompts).encode()).hexdigest()[:6]
        parts.append(f"and-{len(others)}-more-{digest}")
    seeds = request.seeds
    return "-".join(("sheet", *parts, f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]}-to-{seeds[-1]}"))


def _slug(prompt: str) -> str:
    """The prompt's first words, in a form that every file system takes."""
    words = re.sub(r"\W+", " ", prompt.lower()).split()
    slug = "-".join(words)[:_SLUG_CHARACTERS].encode()[:_SLUG_BYTES].decode(errors="ignore").strip("-")
    return slug or "image"


def _rows(
    request: Request, bundles: Sequence[BundleAt], generated: Sequence[Sequence[GeneratedImage]]
) -> Iterator[Row]:
    """Variants side by side, each prompt and seed on a row of its own; or, of one bundle, a prompt's seeds."""
    seeds = request.seeds
    for index, prompt in enumerate(request.prompts):
        start = index * len(seeds)
        if len(bundles) > 1:
            for number, seed in enumerate(seeds, start=start):
                tiles = [(b.variant or b.recipe, images[number]) for b, images in zip(bundles, generated, strict=True)]
                yield Row(f"{prompt} (seed {seed})", tiles)
        else:
            tiles = [(f"seed {seed}", image) for seed, image in zip(seeds, generated[0][start:], strict=False)]
            for first in range(0, len(tiles), _COLUMNS):
                yield Row(prompt if first == 0 else "", tiles[first : first + _COLUMNS])
