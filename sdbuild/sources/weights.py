"""Which of a folder's many weight files a build takes: one format and one variant, half precision if there is a choice."""

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from sdbuild.errors import SourceError
from sdbuild.sources.base import Source, SourceFile, read_json, shown

PLAIN = "plain"
"""What recipes call the files without a variant in their names."""

_DIFFUSERS_STEMS = ("diffusion_pytorch_model",)
_TRANSFORMERS_STEMS = ("model", "pytorch_model")
_SUFFIXES = ("safetensors", "bin")
_PREFERRED = ("fp16", "")


@dataclass(frozen=True)
class _Set:
    """The weight files of one format and variant: a whole file, an index of shards, or both, as names in their folder."""

    whole: str | None = None
    index: str | None = None


def choose_weights(
    source: Source, folder: str, of_transformers: bool, allow_pickle: bool, variant: str | None = None
) -> list[SourceFile]:
    """The weight files of one model, shards in the order of their names.

    ``folder`` is the model's inside the source, "" for the source itself; ``of_transformers`` tells whose names to look
    for, those of transformers or of diffusers. ``variant`` is taken where it is, `PLAIN` being that without a name. Else
    safetensors come before pickles, and the fp16 variant before the plain one; others are taken by name only.

    Raises:
        SourceError: no weights; a whole file beside shards of another save; shards that are not there; or pickled ones that the
            recipe does not allow.
    """
    sets = _sets(source, folder, of_transformers)
    wanted = "" if variant == PLAIN else variant
    named = [(suffix, wanted) for suffix in _SUFFIXES if variant is not None]
    preferred = [(suffix, name) for suffix in _SUFFIXES for name in _PREFERRED]
    for suffix, name in (*named, *preferred):
        if name is None or (suffix, name) not in sets:
            continue
        found, prefix = sets[suffix, name], _prefix(folder)
        if suffix == "bin" and not allow_pickle:
            raise SourceError(
                f"{source.name}: {folder or 'the model'} comes as a pickle only ({prefix}{found.whole or found.index}), and "
                "loading a pickle can run code that its author hid in it; name a source with safetensors or, if you trust this "
                "one, write `allow_pickle: true` under `model:` in the recipe"
            )
        return _files(source, prefix, found, suffix)
    raise _nothing(source, folder, of_transformers, {name for _, name in sets})


def variants(source: Source, folder: str, of_transformers: bool) -> set[str]:
    """The variants of a model's weights that a source has; `PLAIN` for files without one."""
    return {name or PLAIN for _, name in _sets(source, folder, of_transformers)}


def _prefix(folder: str) -> str:
    return f"{folder}/" if folder else ""


def _names(source: Source, folder: str) -> list[str]:
    """The files right in a folder."""
    prefix = _prefix(folder)
    inside = (path.removeprefix(prefix) for path in source.files if path.startswith(prefix))
    return sorted(name for name in inside if "/" not in name)


def _sets(source: Source, folder: str, of_transformers: bool) -> dict[tuple[str, str], _Set]:
    """By format and variant, "" for none: as diffusers and transformers name their files now, and as diffusers did."""
    stems = _TRANSFORMERS_STEMS if of_transformers else _DIFFUSERS_STEMS
    found: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    names = _names(source, folder)
    for stem in stems:
        whole = re.compile(rf"{stem}(?:\.(?P<variant>[\w-]+))?\.(?P<suffix>{'|'.join(_SUFFIXES)})")
        index = re.compile(
            rf"{stem}\.(?P<suffix>{'|'.join(_SUFFIXES)})(?:\.(?P<old>[\w-]+))?\.index(?:\.(?P<variant>[\w-]+))?\.json"
        )
        for name in names:
            match = (None if _SHARD.search(name) else whole.fullmatch(name)) or index.fullmatch(name)
            if match is not None:
                parts = match.groupdict()
                variant = parts["variant"] or parts.get("old") or ""
                kind = "index" if match.re is index else "whole"
                found[parts["suffix"], variant].setdefault(kind, name)  # of two stems the first
    return {key: _Set(**names) for key, names in found.items()}


_SHARD = re.compile(r"-\d{5}-of-\d{5}(\.[\w-]+)?\.\w+$")


def _files(source: Source, prefix: str, found: _Set, suffix: str) -> list[SourceFile]:
    if found.index is None:
        return [source.files[prefix + str(found.whole)]]
    names = _shards(source, prefix + found.index, suffix)
    missing = [name for name in names if prefix + name not in source.files]
    if found.whole is not None:
        if missing == names:  # the library removes shards when it saves one file, and leaves their index
            return [source.files[prefix + found.whole]]
        raise SourceError(
            f"{source.name}: {prefix}{found.whole} lies beside the shards of {found.index}, as when a model is saved a second "
            "time in another number of files; diffusers loads the shards then, transformers the whole file, whichever is "
            "older. Remove the older one, in a copy if the model is another's"
        )
    if missing:
        raise SourceError(
            f"{source.name}: {prefix}{found.index} names {len(names)} files, and "
            f"{', '.join(shown(prefix + name) for name in missing)} {'is' if len(missing) == 1 else 'are'} missing; complete "
            "the upload or download, or name another source"
        )
    return [source.files[prefix + name] for name in names]


def _shards(source: Source, index: str, suffix: str) -> list[str]:
    """The names in an index. Shards lie beside it: a path could lead to a file of the same name in another folder."""
    weight_map: Any = read_json(source, index).get("weight_map")
    mapped = list(weight_map.values()) if isinstance(weight_map, dict) else []
    names = sorted({name for name in mapped if isinstance(name, str) and name.endswith(f".{suffix}")})
    if not names or not all(name in names for name in mapped):
        raise SourceError(f"{source.name}: {index} lists no weight files; the file is damaged: get it again")
    if elsewhere := [name for name in names if "/" in name or "\\" in name]:
        raise SourceError(
            f"{source.name}: {index} names {shown(elsewhere[0])}, in another folder than its own; put the shards beside the "
            "index, and their names alone into it"
        )
    return names


def _nothing(source: Source, folder: str, of_transformers: bool, others: set[str]) -> SourceError:
    """Why no weights were found."""
    where = f"{source.name}: there are no weights in {folder or 'it'}"
    if others:
        names = sorted(others)
        listed = f"variant {names[0]}" if len(names) == 1 else f"variants {', '.join(names)}"
        return SourceError(
            f"{where} without a variant in their name, but of the {listed}; write `variant: {names[0]}` under `model:` in the "
            "recipe"
        )
    stem = (_TRANSFORMERS_STEMS if of_transformers else _DIFFUSERS_STEMS)[0]
    files = _names(source, folder)
    if any(name.startswith(stem) and _SHARD.search(name) for name in files):
        return SourceError(
            f"{where} that can be put together: there are shards, and no {stem}.safetensors.index.json that says which belong "
            "together; complete the upload or download"
        )
    near = ", ".join(shown(_prefix(folder) + name) for name in files)
    found = f"it holds {near}" if near else "it is empty"
    return SourceError(f"{where}: {stem}.safetensors is looked for, {found}; name a diffusers pipeline")
