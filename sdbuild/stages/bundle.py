"""bundle: the Resources folder for Apple's Swift package: put together, checked, described and, if asked for, zipped."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sdbuild.bundle.assemble import assemble
from sdbuild.bundle.contract import ContractError, Expectations, check_resources
from sdbuild.bundle.manifest import Description, make_manifest, tree_digest, write_manifest
from sdbuild.bundle.zip import write_zip
from sdbuild.distillation import Wants
from sdbuild.jobs.bundle import Bundle, Merged, Shipped
from sdbuild.modeling.markers import markers_in
from sdbuild.recipe.fields import EVERYTHING
from sdbuild.scheduler_kinds import CONSISTENCY, SCHEDULERS, lacking_consistency
from sdbuild.sources.schedulers import with_markers
from sdbuild.stages import Place


def run(job: Bundle, place: Place) -> None:
    """Write ``Resources/``, ``manifest.json`` and, if asked for, the archive."""
    resources = place.output / "Resources"
    models = {name: model.path for each in job.components.values() for name, model in each.models.items()}
    assemble(models, [folder.path for folder in job.tokenizers], resources)
    violations = check_resources(resources, _expectations(job))
    if violations:
        raise ContractError(violations)
    if job.verified is not None:
        for name in ("verify.json", "verify.txt"):
            shutil.copy(job.verified.path / name, place.output / name)
    size = sum(file.stat().st_size for file in resources.rglob("*") if file.is_file())
    total = 2 * size if job.zip else size
    description = _description(job, place.warn)
    write_manifest(
        make_manifest(resources, description, lambda done: place.progress(done, total, "B")),
        place.output / "manifest.json",
    )
    if job.zip:
        write_zip(
            resources,
            place.output / f"{job.zip}.zip",
            [place.output / "manifest.json"],
            lambda done: place.progress(min(size + done, total), total, "B"),
        )


def _expectations(job: Bundle) -> Expectations:
    decoders = [each for each in job.components.values() if "VAEDecoder" in each.models]
    return Expectations(
        job.contract,
        height=job.sizes.height,
        width=job.sizes.width,
        vae_factor=job.sizes.vae_factor,
        batch=job.sizes.batch,
        models=[model for each in job.components.values() for model in each.models],
        float16_vae=any(decoder.precision == "float16" for decoder in decoders),
    )


def _description(job: Bundle, warn: Callable[[str], None]) -> Description:
    schedule = with_markers(
        _read(job.scheduler.path), markers_in(job.denoiser.path) if job.denoiser is not None else ()
    )
    for note in schedule.notes:
        warn(note)
    distilled = list(_distilled_notes(job, schedule.config, warn))
    return Description(
        pipeline=job.pipeline,
        sources={name: _source(each) for name, each in job.components.items()},
        sizes=job.sizes,
        attention=job.attention,
        networks=job.networks,
        scheduler=schedule.config,
        scheduler_overrides=job.scheduler_overrides,
        defaults=job.defaults,
        guidance_embedding=job.guidance_embedding,
        notes=list(dict.fromkeys([*_read(job.notes.path), *schedule.notes, *_notes(job), *distilled])),
        os=job.os,
        compute_units=job.compute_units,
        compiler={name: each for name, each in asdict(job.compiler).items() if each is not None},
        tools=job.tools,
        embeddings=_read(job.embeddings.path) if job.embeddings is not None else (),
        loras={name: _lora(each) for name, each in job.loras.items()},
        compression={model: list(each.compress) for each in job.components.values() for model in each.models},
    )


def _source(component: Shipped) -> dict[str, str]:
    """Where a component's weights are from: of a local model only its content is said, as a digest, as of a tree."""
    if component.weights is not None:
        digest = tree_digest({file["name"]: file for file in _read(component.weights.path)["files"]})
        return dict.fromkeys(component.origin, digest)
    record = _read(component.files.path)
    commit = {"commit": record["commit"]} if record["commit"] else {}
    sha256 = record["files"][0].get("sha256") if "names" in record else None  # of a single file
    return component.origin | commit | ({"sha256": sha256} if sha256 else {})


def _lora(merged: Merged) -> dict[str, Any]:
    """Where it is from, the digest of its file, and how much of it was merged."""
    commit, (file,) = _read(merged.found.path)["commit"], _read(merged.file.path)["files"]
    weight = merged.weight.get(EVERYTHING, merged.weight)
    public = {kind: text for kind, text in merged.origin.items() if text}
    named = {"commit": commit, "file": file["name"]} if commit else {}
    blocks = {"blocks": list(merged.blocks)} if merged.blocks is not None else {}
    distilled = {"distilled": wants} if (wants := _about(merged).get("distilled")) is not None else {}
    return {**public, **named, "sha256": file["sha256"], "weight": weight, **blocks, **distilled}


def _about(merged: Merged) -> dict[str, Any]:
    about: dict[str, Any] = _read(merged.about.path) if merged.about is not None else {}
    return about


def _distilled_notes(job: Bundle, scheduler: Mapping[str, Any], warn: Callable[[str], None]) -> Iterator[str]:
    """Of LoRAs for few steps that the recipe's defaults are not for; the recipe's rules warn of those known by name."""
    for name, merged in job.loras.items():
        if (data := _about(merged).get("distilled")) is None:
            continue
        wants = Wants.read(data)
        if missing := wants.missing(job.defaults, scheduler):
            text = (
                f"{name} is a LoRA of {wants.kind}, by {data['recognized_by']}, which wants {wants.text()}; the recipe has "
                f"{', '.join(missing)}"
            )
            if data["recognized_by"].startswith("its metadata"):
                warn(f"{text}; {wants.advice()}")
            yield text


def _notes(job: Bundle) -> list[str]:
    return [*_size_notes(job), *_scheduler_notes(job)]


def _scheduler_notes(job: Bundle) -> list[str]:
    """Of the recipe's scheduler; of the model's own config has said what there is to say."""
    name, own = job.defaults.get("scheduler"), _read(job.scheduler.path).get("_class_name")
    if name is None or SCHEDULERS[name].class_name not in CONSISTENCY or SCHEDULERS[name].class_name == own:
        return []
    return [lacking_consistency(SCHEDULERS[name].class_name)]


def _size_notes(job: Bundle) -> list[str]:
    takes_sizes = any(network.input("sizes") for network in job.networks)
    if not takes_sizes or job.sizes.height == job.sizes.width:
        return []
    return [
        "images are not square, and the Swift package tells the denoiser of one number for both sides (originalSize and "
        "targetSize): images differ from those with `size_conditioning`"
    ]


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
