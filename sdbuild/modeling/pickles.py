"""Weights in pickles: loaded as nothing but weights, from whatever nest they lie in.

torch's loader with ``weights_only`` makes tensors and plain containers and refuses all else. Files of torch 1.6 or newer are
zip archives, of which only what is asked for is read; older ones are read whole.
"""

import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sdbuild.arrays import Array
from sdbuild.errors import SourceError, in_brief, tells_of_no_memory
from sdbuild.sources.base import shown


class _ModelCheckpoint:
    """What stands in for PyTorch Lightning's class of this name: those of 2022 have it as the key of a callback's state."""


_scalar = np.float64(0).__reduce__()[0]
_OF_TRAINING: tuple[Any, ...] = (
    (_ModelCheckpoint, "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint"),
    (_scalar, "numpy.core.multiarray.scalar"),  # a loss, in such a state, by its name in NumPy 1 …
    (_scalar, "numpy._core.multiarray.scalar"),  # … and in NumPy 2
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8", "?")),
)
"""What checkpoints refer to besides what torch knows: a class, here without code, and numbers."""

_NESTS = ("state_dict", "module", "model", "model_state_dict", "params")
"""Where training scripts put a model's weights, besides a step or an optimizer."""
_DEEPEST = 4
_TERMINAL = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_FOREIGN = re.compile(r"GLOBAL (\S+) was not an allowed global")
_FORMAT_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
}
"""As safetensors files have them."""

Stored = tuple[str, tuple[int, ...], Callable[[], Array] | None]
"""A tensor's type by safetensors' name, or by torch's where that has none; its shape; and what reads it. Of anything else in a
pickle, its class, no shape and nothing."""


def tensors_in(file: Path) -> dict[str, Stored]:
    """By name, what is in a pickle: counters and the like lie there too, and harm nobody who does not ask.

    Raises:
        UserError: not a pickle, damaged, of more than plain weights, or with several models in it.
    """
    return {name: _stored(value) for name, value in load_state(file).items()}


def _stored(value: Any) -> Stored:
    if not isinstance(value, torch.Tensor):
        return type(value).__name__, (), None
    plain = value.layout is torch.strided and value.device.type == "cpu"
    dtype = _FORMAT_NAMES.get(value.dtype, str(value.dtype)) if plain else f"{value.layout} on {value.device}"
    return dtype, tuple(value.shape), partial(_read, value)


def _read(tensor: torch.Tensor) -> Array:
    tensor = tensor.detach().contiguous()  # a pickle may hold parameters that want gradients
    kept = tensor.dtype in (torch.float16, torch.float32)
    array: Array = (tensor.clone() if kept else tensor.float()).numpy()  # not what others read, or what is mapped
    return array


def load_state(file: Path) -> dict[str, Any]:
    """What is named in a pickle: tensors, and counters and the like beside them.

    Raises:
        UserError: not a pickle, damaged, of more than plain weights, or with several models in it.
    """
    return _unpacked(file, load_plain(file, _OF_TRAINING))


def load_plain(file: Path, allowed: Sequence[Any] = ()) -> Any:
    """What a pickle of tensors and plain containers holds; ``allowed`` are classes that may be in it besides, as they are
    or with the name that the pickle has for them.

    Raises:
        UserError: not a pickle, damaged, or of more than that.
    """
    try:
        with torch.serialization.safe_globals(list(allowed)):
            return torch.load(file, map_location="cpu", mmap=zipfile.is_zipfile(file), weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # of every kind, for pickle is a language
        if tells_of_no_memory(str(error)):
            raise
        raise SourceError(f"{file}: cannot be loaded as plain weights: {_reason(error)}") from None


def _unpacked(file: Path, state: Any) -> dict[str, Any]:
    for _ in range(_DEEPEST):
        if not isinstance(state, Mapping):
            break
        if any(isinstance(value, torch.Tensor) for value in state.values()):
            return {name: value for name, value in state.items() if isinstance(name, str)}
        holds = {name: value for name, value in state.items() if isinstance(name, str) and _has_tensors(value)}
        nests = [name for name in _NESTS if name in holds] or list(holds)
        averages = [name for name in holds if "ema" in name.lower()]
        if len(nests) > 1 or (averages and averages != nests):
            names = ", ".join(map(shown, dict.fromkeys([*nests, *averages])))
            raise SourceError(f"{file}: holds several sets of weights ({names}); save the one that is meant, alone")
        if not nests:
            break
        state = state[nests[0]]
    raise SourceError(f"{file}: no weights in it: it holds no tensors by name. Name the file that has them")


def _has_tensors(value: Any, levels: int = _DEEPEST) -> bool:
    return isinstance(value, Mapping) and any(
        isinstance(inner, torch.Tensor) or (levels > 0 and name in _NESTS and _has_tensors(inner, levels - 1))
        for name, inner in value.items()
    )


def _reason(error: Exception) -> str:
    """Why torch did not load a file, without its advice, which is to load it with whatever code it carries."""
    text = _TERMINAL.sub("", str(error))
    if foreign := _FOREIGN.search(text):
        return (
            f"it needs {shown(foreign[1])}, and to load that could run code hidden in the file; save the model's state_dict() "
            "alone, as safetensors"
        )
    if "Weights only load failed" in text or not text:
        return "it is damaged, or holds more than weights; get it again, or save the model's state_dict() alone, as safetensors"
    return f"{in_brief(Exception(text.splitlines()[0]))}; get it again"
