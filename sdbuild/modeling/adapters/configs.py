"""Where an adapter's strength is said outside of its tensors: PEFT's file beside it, or diffusers' entry in its metadata."""

import json
from collections.abc import Iterable, Mapping

from sdbuild.errors import SourceError
from sdbuild.modeling.adapters.strengths import NO_STRENGTHS, Strengths, read_strengths
from sdbuild.sources.base import Source, SourceFile, read_json

_BESIDE = "adapter_config.json"
_ENTRY = "lora_adapter_metadata"
PLACES = ("unet", "text_encoder", "text_encoder_2")


def find_strengths(
    name: str, source: Source, file: SourceFile, keys: Iterable[str], metadata: Mapping[str, str]
) -> Strengths:
    """What is said of a file's adapters.

    Raises:
        UserError: PEFT's names without PEFT's configuration: nobody could say how strong the adapter is.
    """
    beside = f"{file.path.rpartition('/')[0]}/{_BESIDE}".lstrip("/")
    if _ENTRY in metadata:
        try:
            config = json.loads(metadata[_ENTRY])
        except ValueError:
            config = None
        if not isinstance(config, dict):
            raise SourceError(f"{name}: {_ENTRY} in its metadata is no table; get the file again")
        return read_strengths(f"{name}, {_ENTRY}", config, PLACES)
    wrapped = any(key.startswith("base_model.model.") for key in keys)
    if wrapped and beside in source.files:
        return read_strengths(f"{source.name}: {beside}", read_json(source, beside))
    if wrapped and not any(key.endswith("alpha") for key in keys):
        raise SourceError(
            f"{name}: PEFT's names, and no {_BESIDE} beside it, which says how strong the adapter is; put it there, and "
            "name the folder"
        )
    return NO_STRENGTHS
