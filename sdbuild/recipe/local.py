"""What recipes look up in the configurations of models on this machine, before any stage reads them in earnest."""

from __future__ import annotations

import json
from typing import Any

from sdbuild.recipe.source import Source

_MOST = 1 << 20  # bytes; a configuration has some two thousand


def local_config(source: Source, folder: str) -> dict[str, Any]:
    """The ``config.json`` of a model in a local source, in its folder or else right in the source.

    Empty for a hub model, and where there is nothing that can be read: to say what is wrong with it is for the stages.
    """
    if source.folder is None:
        return {}
    path = source.folder / folder / "config.json"
    try:
        if not path.exists():
            path = source.folder / "config.json"
        if not path.is_file() or path.stat().st_size > _MOST:
            return {}
        config = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return {}
    return config if isinstance(config, dict) else {}


def bears_float16(source: Source, folder: str) -> bool:
    """Whether a local VAE says that its activations stay within float16, as diffusers understands ``force_upcast``."""
    return local_config(source, folder).get("force_upcast") is False
