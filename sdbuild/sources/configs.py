"""Configuration files in the one form that the same model always has, whoever saved it with what version."""

import json
from typing import Any

_OF_THE_SAVER = frozenset(
    {"_commit_hash", "_name_or_path", "_diffusers_version", "transformers_version", "torch_dtype", "dtype"}
)
"""Keys that tell about whoever saved the file, and nothing about the model."""


def canonical(config: dict[str, Any]) -> str:
    """The text of a configuration: sorted keys, without those that are not the model's."""
    kept = {key: value for key, value in config.items() if key not in _OF_THE_SAVER}
    return json.dumps(kept, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
