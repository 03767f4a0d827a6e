"""bundle: the Resources folder for Apple's Swift package: put together, checked, described and, if asked for, zipped."""

import json
import shutil
from pathlib import Path
from typing import Any

from sdbuild.bundle.assemble import assemble
from sdbuild.bundle.contract import ContractError, Expectations, check_resources
from sdbuild.bundle.manifest import Description, make_manifest, tree_digest, write_manifest
from sdbuild.bundle.zip import write_zip
from sdbuild.modeling.markers import markers_in
from sdbuild.sources.schedulers import with_markers
from sdbuild.stages import Job
from sdbuild.wiring import part_of


def run(job: Job) -> None:
    """Write ``Resources/``, ``manifest.json`` and, if asked for, ``<stem>.zip``.

    Parameters: ``pipeline``; ``networks``, a list of `Part.data` in the order they run; ``components``, by name, each with
    ``models`` (Swift names), ``precision`` and ``compress`` (steps); ``height``, ``width``, ``batch``, ``tokens``,
    ``latent_channels``, ``vae_factor``, ``attention``, ``deployment_target``, ``compute_units``, ``compiler``, ``tools``
    (versions by name); ``vae_scale`` and ``scheduler_overrides``, the family's; ``sources``, by component, where weights are
    from ("hub", "builtin" or "local"); ``zip``, the archive's stem or null.

    Inputs: ``compiled:<Swift name>``, its ``.mlmodelc``; ``tokenizer:<name>``, folders, the first one's files are taken;
    ``scheduler`` and ``notes``, as config settled them; ``denoiser``, if there is one, its weights, for the marks among them;
    ``files:<component>``, what config recorded of the weight files; ``weights:<component>``, for local ones, what download
    recorded of them; ``verify``, if that ran, what it found, which is shown beside the bundle.
    """
    parameters, inputs = job.parameters, job.inputs
    resources = job.output / "Resources"
    assemble(_by_name(inputs, "compiled"), list(_by_name(inputs, "tokenizer").values()), resources)
    violations = check_resources(resources, _expectations(parameters))
    if violations:
        raise ContractError(violations)
    if "verify" in inputs:
        for name in ("verify.json", "verify.txt"):
            shutil.copy(inputs["verify"] / name, job.output / name)
    size = sum(file.stat().st_size for file in resources.rglob("*") if file.is_file())
    total = 2 * size if parameters["zip"] else size
    description = _description(job)
    write_manifest(
        make_manifest(resources, description, lambda done: job.progress(done, total, "B")), job.output / "manifest.json"
    )
    if parameters["zip"]:
        archive = job.output / f"{parameters['zip']}.zip"
        write_zip(
            resources,
            archive,
            [job.output / "manifest.json"],
            lambda done: job.progress(min(size + done, total), total, "B"),
        )


def _by_name(inputs: dict[str, Path], role: str) -> dict[str, Path]:
    return {name.removeprefix(f"{role}:"): path for name, path in inputs.items() if name.startswith(f"{role}:")}


def _expectations(parameters: dict[str, Any]) -> Expectations:
    components = parameters["components"].values()
    decoders = [component for component in components if "VAEDecoder" in component["models"]]
    return Expectations(
        parameters["pipeline"],
        height=parameters["height"],
        width=parameters["width"],
        vae_factor=parameters["vae_factor"],
        batch=parameters["batch"],
        models=[model for component in components for model in component["models"]],
        float16_vae=any(decoder["precision"] == "float16" for decoder in decoders),
    )


def _description(job: Job) -> Description:
    parameters, inputs = job.parameters, job.inputs
    schedule = with_markers(_read(inputs["scheduler"]), markers_in(inputs["denoiser"]) if "denoiser" in inputs else ())
    for note in schedule.notes:
        job.warn(note)
    components = parameters["components"].values()
    commits = {name: _read(path)["commit"] for name, path in _by_name(inputs, "files").items()}
    weights = {name: {"local": _weights_digest(path)} for name, path in _by_name(inputs, "weights").items()}
    return Description(
        pipeline=parameters["pipeline"],
        sources={
            name: origin | weights.get(name, {}) | ({"commit": commits[name]} if commits[name] else {})
            for name, origin in parameters["sources"].items()
        },
        height=parameters["height"],
        width=parameters["width"],
        latent_channels=parameters["latent_channels"],
        vae_factor=parameters["vae_factor"],
        vae_scale=parameters["vae_scale"],
        tokens=parameters["tokens"],
        attention=parameters["attention"],
        batch=parameters["batch"],
        networks=[part_of(network) for network in parameters["networks"]],
        scheduler=schedule.config,
        scheduler_overrides=parameters["scheduler_overrides"],
        notes=list(dict.fromkeys([*_read(inputs["notes"]), *schedule.notes, *_notes(parameters)])),
        os=parameters["deployment_target"],
        compute_units=parameters["compute_units"],
        compiler=parameters["compiler"],
        tools=parameters["tools"],
        compression={model: component["compress"] for component in components for model in component["models"]},
    )


def _notes(parameters: dict[str, Any]) -> list[str]:
    takes_sizes = any(part_of(network).input("sizes") for network in parameters["networks"])
    if not takes_sizes or parameters["height"] == parameters["width"]:
        return []
    return [
        "images are not square, and the Swift package tells the denoiser of one number for both sides (originalSize and "
        "targetSize): pictures differ from those with `size_conditioning`"
    ]


def _weights_digest(path: Path) -> str:
    """The digest of a local model's weight files, as of a tree: its content is all that is told of it."""
    return tree_digest({file["name"]: file for file in _read(path)["files"]})


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
