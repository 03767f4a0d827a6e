"""Configuration files: read and understood, and in the one form that the same model always has, whoever saved it."""

import json
from collections.abc import Mapping
from typing import Any

from sdbuild.errors import SourceError
from sdbuild.sources.architectures import known_part
from sdbuild.sources.base import Source, read_json, shown


def read_config(source: Source, path: str, model_class: str) -> dict[str, Any]:
    """A model's ``config.json``: what `known_part` keeps of it.

    Raises:
        SourceError: missing or damaged, of another class, or with what can't be built.
    """
    config = read_json(source, path)
    found = class_of(config)
    if found != model_class:
        raise SourceError(
            f"{source.name}: {path} names {found or 'no class'}, and the recipe's pipeline takes {model_class} there; name "
            "another source, or the pipeline that this one is of"
        )
    return known_part(model_class, config, f"{source.name}: {path}")


def class_of(config: Mapping[str, Any]) -> str:
    """The class that a configuration names, as diffusers or transformers write it; empty for none."""
    named = config.get("_class_name") or config.get("architectures")
    found = named[0] if isinstance(named, list) and named else named
    return shown(found) if found else ""


def canonical(config: Mapping[str, Any]) -> str:
    """The text of a configuration: sorted keys, without what is the saver's."""
    kept = {key: value for key, value in config.items() if key not in _OF_THE_SAVER}
    return json.dumps(kept, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


_OF_THE_SAVER = frozenset(
    {"_commit_hash", "_name_or_path", "_diffusers_version", "transformers_version", "torch_dtype", "dtype"}
)
"""Keys of any configuration that tell about whoever saved the file, and nothing about the model."""
