"""Learned embeddings (textual inversion) in the forms that they are shared in.

| written by | form |
|---|---|
| A1111's web UI | a pickle: ``string_to_param`` → ``*`` → vectors |
| the same, and trainers for it | safetensors: ``emb_params`` |
| diffusers | ``learned_embeds``, a pickle or safetensors: the token → one vector, or several |
| trainers for SDXL | ``clip_l`` and ``clip_g``, or ``text_encoders_0`` and ``text_encoders_1``: vectors for each text encoder |

The token that a file names is not read: a recipe says which word it is to be.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from sdbuild.arrays import Array
from sdbuild.errors import SourceError
from sdbuild.modeling.checkpoint import Checkpoint
from sdbuild.sources.base import shown
from sdbuild.sources.contents import are_safetensors, opening
from sdbuild.sources.leftovers import listed

_PARAMETER = re.compile(
    r".*[./][A-Za-z_]\w*|(.*_)?(weights?|bias|alpha|ids|scale|mean|std|rows|embeddings?|projection|proj|table|codebook|centroids|features)"
)
"""Names of tensors in other files: an embedding's is ``emb_params``, or the token that it was trained as."""
_FOR_EACH_ENCODER = (("clip_l", "clip_g"), ("text_encoders_0", "text_encoders_1"))
_ADVICE = "an embedding is one tensor, or clip_l and clip_g for SDXL's two text encoders"


def read_embedding(file: Path, allow_pickle: bool) -> tuple[Array, ...]:
    """The vectors for each text encoder, float32 [vectors, width]: of one, or of all that a pipeline has.

    Raises:
        UserError: not an embedding, or damaged; a pickle, where these are not allowed.
    """
    tensors = _tensors(file, allow_pickle)
    names = next((names for names in _FOR_EACH_ENCODER if set(names) & set(tensors)), tuple(tensors))
    if set(names) != set(tensors) or (names not in _FOR_EACH_ENCODER and len(names) != 1):
        raise SourceError(f"{file}: holds {listed(list(tensors)) or 'no tensors'}; {_ADVICE}")
    if len(names) == 1 and _PARAMETER.fullmatch(names[0]):
        raise SourceError(
            f"{file}: holds one tensor, {shown(names[0])} {list(tensors[names[0]].shape)}, which is called as a network's are; "
            "that of an embedding is emb_params, *, or the token that it was trained as, such as <style>"
        )
    found = tuple(_vectors(file, name, tensors[name]) for name in names)
    if not any(vectors.any() for vectors in found):
        raise SourceError(
            f"{file}: all its numbers are 0, which mean nothing to a text encoder; get the embedding again"
        )
    counts = {len(vectors) for vectors in found}
    if len(counts) > 1:
        raise SourceError(
            f"{file}: {' and '.join(names)} have {' and '.join(str(len(vectors)) for vectors in found)} vectors, and a token "
            "has as many for each text encoder; the file is damaged"
        )
    return found


ROWS = "rows"
"""The one tensor in a file of rows."""


def write_rows(rows: Array, path: Path) -> None:
    """Write what a text encoder's table of tokens has more than its weights: float32 [rows, width]."""
    save_file({ROWS: rows}, path)


def read_rows(path: Path) -> Array:
    """What `write_rows` wrote."""
    return Checkpoint([path]).load(ROWS)


def _vectors(file: Path, name: str, array: Array) -> Array:
    if array.ndim not in (1, 2) or not array.size:
        raise SourceError(
            f"{file}: {shown(name)} has shape {list(array.shape)}; the vectors of an embedding are [vectors, width]: the file "
            "is of another kind"
        )
    if not np.isfinite(array).all():
        raise SourceError(f"{file}: {shown(name)} has numbers that are none (NaN or infinity); get the embedding again")
    return np.ascontiguousarray(np.atleast_2d(array), np.float32)


def _tensors(file: Path, allow_pickle: bool) -> dict[str, Array]:
    if are_safetensors(str(file), file.name, opening(file)):
        checkpoint = Checkpoint([file])
        return {name: checkpoint.load(name) for name in checkpoint.names()}
    if not allow_pickle:
        raise SourceError(
            f"{file}: a pickle, and loading a pickle can run code that its author hid in it; get the embedding as safetensors "
            "or, if you trust it, write `allow_pickle: true` under `model:` in the recipe"
        )
    return _unpickled(file)


def _unpickled(file: Path) -> dict[str, Array]:
    import torch

    from sdbuild.modeling.pickles import load_plain

    # What torch had for named parameters before 1.12 pickled as a module.
    loaded = load_plain(file, [torch.nn.ParameterDict])
    if isinstance(loaded, Mapping) and "string_to_param" in loaded:
        loaded = loaded["string_to_param"]
    if isinstance(loaded, torch.nn.ParameterDict):
        loaded = loaded.__dict__.get("_parameters")
    named: Mapping[Any, Any] = loaded if isinstance(loaded, Mapping) else {}
    return {
        name: tensor.detach().float().numpy()
        for name, tensor in named.items()
        if isinstance(name, str) and isinstance(tensor, torch.Tensor) and _is_plain(tensor)
    }


def _is_plain(tensor: Any) -> bool:
    return bool(tensor.is_floating_point()) and str(tensor.layout) == "torch.strided"
