"""``manifest.json``: what an app must know of a bundle and the Swift package cannot read from the models.

Keys (all paths relative to Resources, sizes in bytes, digests SHA-256 in hexadecimal)::

    schema      2
    pipeline    the family: sd1, sd2, sdxl
    networks    a list in the order they run: name, the component's; role (text_encoder, denoiser, decoder, encoder,
                checker); models that compute it, chunks in their order; inputs and outputs, by port what it carries
                (`sdbuild.wiring.SIGNALS`); padding, of a text encoder: the token that fills a short prompt up
    sources     by component: {hub, commit}, {builtin}, or {local}, the digest of the tree of weight files
    loras       where there are any, by name what was merged into the weights: {hub, commit, file} or {builtin}, sha256 of the
                file, weight (a number, or by component), blocks; distilled, of one for few steps: what it wants of whoever
                generates, and by what it was recognized
    image       height, width in pixels
    latents     channels; vae_factor, image pixels for one latent pixel along a side; vae_scale, by which latents are
                multiplied after encoding and divided before decoding
    prompt      tokens, its length
    embeddings  of a model with learned embeddings, a list: token, the word that is written for one; ids, the numbers that
                the tokenizer makes of it, one for each vector; source: {hub, commit, file, sha256} …, or {local}, the sha256
                of its file
    denoiser    attention (original, split_einsum, split_einsum_v2), batch, chunked; guidance_embedding, where the guidance
                scale is built in
    scheduler   prediction_type, and the numbers of the model's scheduler configuration: beta_start, beta_end, …
    scheduler_overrides  what diffusers' pipeline sets in a scheduler, whatever those numbers say
    defaults    where the recipe says such: steps, guidance, scheduler, to generate with; guidance is the Swift package's
                ``guidanceScale`` as it stands, scheduler one of `sdbuild.scheduler_kinds`
    size_conditioning  where the denoiser takes sizes: what to give it, in pixels, height before width: original_size,
                crop_top_left, target_size
    notes       what the app's author should know: what the Swift package cannot do with this model
    target      os, the oldest system; compute_units to load the models for
    compiler    portable, or xcode and its version
    tools       versions of what built it
    models      by name: compute_precision and storage_precision (null without weights) from its metadata; compression, the
                recipe's steps; size; sha256 of the tree
    files       by path: size, sha256
    size        of all files
    sha256      of the tree

The digest of a tree is that of the lines that ``sha256sum`` prints for its files, sorted by path byte by byte; to repeat
it: ``find . -type f -printf '%P\\n' | LC_ALL=C sort | xargs -d '\\n' sha256sum | sha256sum``. There is no date, and nothing
of the machine: the same bundle has the same manifest.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sdbuild.wiring import Part, Sizes

_SCHEMA = 2
_SUFFIX = ".mlmodelc"


@dataclass(frozen=True)
class Description:
    """What is known of a bundle before it is looked at; see the keys of the manifest.

    ``scheduler`` is the model's whole ``scheduler_config.json``, as the stage config settled it; ``compression`` has the steps
    by the models' names.
    """

    pipeline: str
    sources: Mapping[str, Mapping[str, str]]
    sizes: Sizes
    attention: str
    networks: Sequence[Part]
    scheduler: Mapping[str, Any]
    scheduler_overrides: Mapping[str, Any]
    os: str
    compute_units: str
    compiler: Mapping[str, str]
    tools: Mapping[str, str]
    notes: Sequence[str] = ()
    compression: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    embeddings: Sequence[Mapping[str, Any]] = ()
    loras: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    guidance_embedding: float | None = None


def make_manifest(
    resources: Path, description: Description, progress: Callable[[int], None] = lambda done: None
) -> dict[str, Any]:
    """The manifest of the folder ``resources``, whose files are read; ``progress`` gets the bytes read so far."""
    files, done = {}, 0
    for path in sorted(path.relative_to(resources).as_posix() for path in resources.rglob("*") if path.is_file()):
        file = resources / path
        with file.open("rb") as content:
            files[path] = {"sha256": hashlib.file_digest(content, "sha256").hexdigest(), "size": file.stat().st_size}
        done += file.stat().st_size
        progress(done)
    folders = sorted({path.partition(_SUFFIX)[0] for path in files if f"{_SUFFIX}/" in path})
    return {
        "schema": _SCHEMA,
        "pipeline": description.pipeline,
        "sources": {name: dict(source) for name, source in description.sources.items()},
        **({"loras": {name: dict(lora) for name, lora in description.loras.items()}} if description.loras else {}),
        "image": {"height": description.sizes.height, "width": description.sizes.width},
        "latents": {
            "channels": description.sizes.latent_channels,
            "vae_factor": description.sizes.vae_factor,
            "vae_scale": description.sizes.vae_scale,
        },
        "prompt": {"tokens": description.sizes.tokens},
        **({"embeddings": [dict(each) for each in description.embeddings]} if description.embeddings else {}),
        "denoiser": {
            "attention": description.attention,
            "batch": description.sizes.batch,
            "chunked": any(len(part.models) > 1 for part in description.networks if part.role == "denoiser"),
            **({"guidance_embedding": built_in} if (built_in := description.guidance_embedding) is not None else {}),
        },
        "networks": [part.data() for part in description.networks],
        "scheduler": {key: value for key, value in description.scheduler.items() if key != "_diffusers_version"},
        "scheduler_overrides": dict(description.scheduler_overrides),
        **({"defaults": dict(description.defaults)} if description.defaults else {}),
        **(_conditioning(description) if any(part.input("sizes") for part in description.networks) else {}),
        "notes": list(description.notes),
        "target": {"os": description.os, "compute_units": description.compute_units},
        "compiler": dict(description.compiler),
        "tools": dict(description.tools),
        "models": {name: _model(resources, name, files, description) for name in folders},
        "files": files,
        "size": sum(entry["size"] for entry in files.values()),
        "sha256": tree_digest(files),
    }


def _conditioning(description: Description) -> dict[str, Any]:
    size = [description.sizes.height, description.sizes.width]
    return {"size_conditioning": {"original_size": size, "crop_top_left": [0, 0], "target_size": size}}


def write_manifest(manifest: Mapping[str, Any], path: Path) -> None:
    """Write it with sorted keys, one value a line."""
    path.write_text(json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def _model(
    resources: Path, name: str, files: Mapping[str, Mapping[str, Any]], description: Description
) -> dict[str, Any]:
    folder = f"{name}{_SUFFIX}/"
    own = {path.removeprefix(folder): entry for path, entry in files.items() if path.startswith(folder)}
    metadata = json.loads((resources / folder / "metadata.json").read_text(encoding="utf-8"))[0]
    return {
        "compression": list(description.compression.get(name, ())),
        "compute_precision": metadata.get("computePrecision"),
        "storage_precision": metadata.get("storagePrecision"),
        "size": sum(entry["size"] for entry in own.values()),
        "sha256": tree_digest(own),
    }


def tree_digest(files: Mapping[str, Mapping[str, Any]]) -> str:
    """The digest of a tree, of files by path that have their ``sha256``."""
    lines = [f"{entry['sha256']}  {path}\n" for path, entry in sorted(files.items(), key=lambda item: item[0].encode())]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
