"""lora: what a LoRA changes of a model, found out from its header before anything large is read."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from sdbuild.distillation import TITLES, recognize
from sdbuild.graphs import read_graph
from sdbuild.jobs.lora import Lora
from sdbuild.modeling.adapters.configs import find_strengths
from sdbuild.modeling.adapters.file import AdapterFile
from sdbuild.modeling.adapters.purpose import family_of, purpose
from sdbuild.modeling.adapters.resolve import Resolved, resolve
from sdbuild.sources import Source, SourceError, SourceFile, open_source
from sdbuild.sources.contents import are_safetensors
from sdbuild.sources.header import read_header_and_metadata
from sdbuild.sources.leftovers import listed
from sdbuild.stages import Place
from sdbuild.standins import ENOUGH


def run(job: Lora, place: Place) -> None:
    """Write ``files.json``, a ``<place>.json`` for each component that is built, and ``about.json``."""
    source = open_source(asdict(job.source))
    try:
        file = _choose(source, job.file)
        shapes, metadata = _look(source, file, job.allow_pickle, place)
    except SourceError as error:
        raise SourceError(f"{error}{source.caveat}") from None
    name = f"{source.name}: {file.name}" if file.name not in source.name else source.name
    models = {each: read_graph(built.graph.path / "graph.json").parameters for each, built in job.built.items()}
    _check_family(name, shapes, models, job.pipeline)
    strengths = find_strengths(name, source, file, shapes, metadata)
    found = resolve(shapes, models, job.others, strengths)
    _judge(name, found, shapes, job, place)
    for each, changes in found.changes.items():
        plain = {
            parameter: [_plain(asdict(change)) for change in parts] for parameter, parts in sorted(changes.items())
        }
        _write(place.output / f"{each}.json", plain)
    _write(place.output / "files.json", {"commit": source.commit, "files": [file.record()]})
    names = [
        ("its file's name", file.name),
        *_published(job),
        *(("its metadata", metadata.get(key, "")) for key in TITLES),
    ]
    _write(place.output / "about.json", _about(found) | _distilled(names))


def _choose(source: Source, wanted: str | None) -> SourceFile:
    """The file that is meant: the one that is named, that diffusers or PEFT would take, or the only one."""
    if source.single is not None:
        return source.files[source.single]
    if wanted is not None:
        if wanted not in source.files:
            near = ", ".join(sorted(path for path in source.files if path.endswith(_SUFFIXES))) or "none"
            raise SourceError(f"{source.name}: there is no {wanted}; files of tensors there: {near}")
        return source.files[wanted]
    for suffix in _SUFFIXES:
        found = [file for path, file in source.files.items() if path.endswith(suffix) and "/" not in path]
        usual = [file for file in found if file.name.removesuffix(suffix) in _USUAL]
        if len(usual) == 1 or len(found) == 1:
            return (usual or found)[0]
        if found:
            names = ", ".join(sorted(file.path for file in found))
            raise SourceError(f"{source.name}: there are several files of tensors ({names}); name one: `file:`")
    raise SourceError(f"{source.name}: there is no .safetensors file right in it; name one: `file:`")


_SUFFIXES = (".safetensors", ".bin")
_USUAL = ("pytorch_lora_weights", "adapter_model")


def _look(
    source: Source, file: SourceFile, allow_pickle: bool, place: Place
) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """The shapes of the tensors, and what the file says of itself."""
    where, read = f"{source.name}: {file.path}", partial(source.read_start, file.path)
    if are_safetensors(where, file.name, read(ENOUGH)):
        header, metadata = read_header_and_metadata(where, file.size, read)
        return {name: entry.shape for name, entry in header.items()}, metadata
    if not allow_pickle:
        raise SourceError(
            f"{where} is a pickle, and loading a pickle can run code that its author hid in it; get it as safetensors or, if "
            "you trust this one, write `allow_pickle: true` under `model:` in the recipe"
        )
    folder = place.scratch / "looked-at"
    folder.mkdir(exist_ok=True)
    (folder / file.name).unlink(missing_ok=True)
    source.fetch(file, folder, place.scratch, lambda done: place.progress(done, file.size, "B"))
    return AdapterFile(folder / file.name).shapes, {}


def _check_family(name: str, shapes: Mapping[str, Any], models: Mapping[str, Any], pipeline: str) -> None:
    """A LoRA of another family is refused by what it is for, before its layers are looked for."""
    family = family_of(shapes)
    widths = {
        shape[1] for parameter, shape in models.get("unet", {}).items() if parameter.endswith("attn2.to_k.weight")
    }
    if family is not None and widths and family_of({"unet.attn2.to_k.diff": (1, *widths)}) != family:
        raise SourceError(f"{name}: a LoRA for {family}, and the recipe builds {pipeline}; name one for it")


def _judge(name: str, found: Resolved, shapes: Mapping[str, Any], job: Lora, place: Place) -> None:
    """Stop over a file that is no adapter of this model, or in part."""
    if not any(found.changes.values()):
        what = purpose(shapes)
        if found.elsewhere and not found.unused:
            raise SourceError(
                f"{name}: it changes nothing that is built, but {', '.join(job.others)}; add that to `components:`, or remove "
                "the LoRA"
            )
        why = "; ".join(dict.fromkeys(list(found.unused.values())[:2]))
        raise SourceError(f"{name}: {what or 'not a LoRA for this model'}; nothing of it can be merged ({why})")
    if not found.unused:
        return
    reasons: dict[str, list[str]] = {}
    for key, why in found.unused.items():
        reasons.setdefault(why, []).append(key)
    text = "; ".join(f"{listed(sorted(keys))}: {why}" for why, keys in list(reasons.items())[:3])
    count = f"{len(found.unused)} of {len(shapes)} tensors are of no use here ({text})"
    if job.strict:
        raise SourceError(f"{name}: {count}; name another file, or write `strict: false` to go on without them")
    place.warn(f"{name}: {count}; the build goes on without them")


def _about(found: Resolved) -> dict[str, Any]:
    """What was found, in brief."""
    changes = [change for each in found.changes.values() for parts in each.values() for change in parts]
    return {
        "kinds": dict(sorted(Counter(change.kind for change in changes).items())),
        "ranks": sorted({change.rank for change in changes if change.rank}),
        "changes": {place: len(each) for place, each in sorted(found.changes.items())},
        "unused": sorted(found.unused),
    }


def _published(job: Lora) -> list[tuple[str, str]]:
    """The name that others know it by: of a file here that is no more than its own."""
    return [] if job.source.path is not None else [("its source's name", job.source.id.partition("?")[0])]


def _distilled(names: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """What it asks of whoever generates, if it is known to be for few steps."""
    found = recognize(names)
    return {"distilled": found[0].data(found[1])} if found is not None else {}


def _plain(change: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in change.items() if value is not None}


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
