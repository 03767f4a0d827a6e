"""Which of a folder's many weight files a build takes: one format, half precision if there is a choice."""

from collections.abc import Iterator
from typing import Any

from sdbuild.sources.base import Source, SourceError, SourceFile, read_json, shown

_DIFFUSERS_STEMS = ("diffusion_pytorch_model",)
_TRANSFORMERS_STEMS = ("model", "pytorch_model")


def choose_weights(source: Source, folder: str, of_transformers: bool, allow_pickle: bool) -> list[SourceFile]:
    """The weight files of one model, shards in the order of their names.

    ``folder`` is the model's inside the source, "" for the source itself; ``of_transformers`` tells whose names to look
    for, those of transformers or of diffusers. safetensors come before pickles, the fp16 variant before the plain one.

    Raises:
        SourceError: no weights, shards that are not there, or pickled ones that the recipe does not allow.
    """
    prefix = f"{folder}/" if folder else ""
    stems = _TRANSFORMERS_STEMS if of_transformers else _DIFFUSERS_STEMS
    for suffix in ("safetensors", "bin"):
        for name in _candidates(stems, suffix):
            if prefix + name not in source.files:
                continue
            if suffix == "bin" and not allow_pickle:
                raise SourceError(
                    f"{source.name}: {folder or 'the model'} comes as a pickle only ({prefix}{name}), and loading a pickle "
                    "can run code that its author hid in it; name a source with safetensors or, if you trust this one, "
                    "write `allow_pickle: true` under `model:` in the recipe"
                )
            if name.endswith(".json"):
                return _shards(source, prefix, name, suffix)
            return [source.files[prefix + name]]
    expected = " or ".join(f"{stem}.safetensors" for stem in stems[:1])
    near = ", ".join(
        sorted(path for path in source.files if path.startswith(prefix) and "/" not in path[len(prefix) :])
    )
    found = f"it holds {near}" if near else "it is empty"
    raise SourceError(
        f"{source.name}: there are no weights in {folder or 'it'}: {expected} is looked for, {found}; name a diffusers pipeline"
    )


def _candidates(stems: tuple[str, ...], suffix: str) -> Iterator[str]:
    """Names in the order of preference: as diffusers and transformers write them now, then as diffusers did."""
    for variant in (".fp16", ""):
        for stem in stems:
            yield f"{stem}{variant}.{suffix}"
            yield f"{stem}.{suffix}.index{variant}.json"
            if variant:
                yield f"{stem}.{suffix}{variant}.index.json"


def _shards(source: Source, prefix: str, index: str, suffix: str) -> list[SourceFile]:
    weight_map: Any = read_json(source, prefix + index).get("weight_map")
    mapped = list(weight_map.values()) if isinstance(weight_map, dict) else []
    names = sorted({name for name in mapped if isinstance(name, str) and name.endswith(f".{suffix}")})
    if not names or not all(name in names for name in mapped):
        raise SourceError(f"{source.name}: {prefix}{index} lists no weight files; the file is damaged: get it anew")
    missing = [shown(prefix + name) for name in names if prefix + name not in source.files]
    if missing:
        raise SourceError(
            f"{source.name}: {prefix}{index} names {len(names)} files, and {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing; complete the upload or download, or name another source"
        )
    return [source.files[prefix + name] for name in names]
