"""Weights in pickles: loaded as nothing but weights, from whatever nest they lie in.

torch's loader with ``weights_only`` makes tensors and plain containers and refuses all else. Files of torch 1.6 or newer are
zip archives, of which only what is asked for is read; older ones are read whole.
"""

import io
import pickletools
import re
import struct
import zipfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

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
_ARCHIVE = b"PK\x03\x04"
_PIECES = (1 << 20, 8 << 20, 64 << 20)
"""Bytes of a file that are read for the pickle in it: one of a whole model has less than the first."""
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
    return _unpacked(str(file), load_plain(file, _OF_TRAINING))


def shapes_in(where: str, read: Callable[[int], bytes]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Type and shape by name, as `tensors_in` has them, of a pickle that is elsewhere: from its beginning alone.

    torch puts the pickle first into its archive, and all numbers behind it. An archive of the pickle and of empty records loads
    as tensors without numbers. ``where`` is for messages; ``read`` gives as many of the first bytes as it is asked for.

    Raises:
        UserError: as there, or an older file than torch 1.6 writes.
    """
    pickled = _first_record(where, read)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("x/data.pkl", pickled)
        made.writestr("x/version", "3\n")
        for key in _strings(pickled):
            if key.isdecimal():  # what a record of numbers is called
                made.writestr(f"x/data/{key}", b"")
    archive.seek(0)
    with FakeTensorMode():
        state = _unpacked(where, _loaded(where, archive, _OF_TRAINING, mmap=False))
        return {name: _stored(value)[:2] for name, value in state.items()}


def _first_record(where: str, read: Callable[[int], bytes]) -> bytes:
    """The pickle in an archive of torch, which may be longer than what is read at once."""
    for count in _PIECES:
        start = read(count)
        names, extra = struct.unpack("<HH", start[26:30]) if start.startswith(_ARCHIVE) and len(start) >= 30 else (0, 0)
        method, name = start[8:10], start[30 : 30 + names]
        if method != b"\0\0" or not name.endswith(b"data.pkl"):
            break
        pickled = start[30 + names + extra :]
        if (end := _end(pickled)) is not None:
            return pickled[:end]
        if len(start) < count:
            break
    raise SourceError(
        f"{where}: a pickle that does not begin as those of torch 1.6 and newer do, so that it can't be looked into before it "
        "is on this machine; download it, and name that file"
    )


def _end(pickled: bytes) -> int | None:
    """Where a pickle ends; None where it breaks off. Nothing of it is carried out."""
    content = io.BytesIO(pickled)
    try:
        for _ in pickletools.genops(content):
            pass
    except (ValueError, UnicodeDecodeError):
        return None
    return content.tell()


def _strings(pickled: bytes) -> set[str]:
    return {text for _, text, _ in pickletools.genops(pickled) if isinstance(text, str)}


def load_plain(file: Path, allowed: Sequence[Any] = ()) -> Any:
    """What a pickle of tensors and plain containers holds; ``allowed`` are classes that may be in it besides, as they are
    or with the name that the pickle has for them.

    Raises:
        UserError: not a pickle, damaged, or of more than that.
    """
    return _loaded(str(file), file, allowed, zipfile.is_zipfile(file))


def _loaded(where: str, file: Any, allowed: Sequence[Any], mmap: bool) -> Any:
    try:
        with torch.serialization.safe_globals(list(allowed)):
            return torch.load(file, map_location="cpu", mmap=mmap, weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # of every kind, for pickle is a language
        if tells_of_no_memory(str(error)):
            raise
        raise SourceError(f"{where}: cannot be loaded as plain weights: {_reason(error)}") from None


def _unpacked(where: str, state: Any) -> dict[str, Any]:
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
            raise SourceError(f"{where}: holds several sets of weights ({names}); save the one that is meant, alone")
        if not nests:
            break
        state = state[nests[0]]
    raise SourceError(f"{where}: no weights in it: it holds no tensors by name. Name the file that has them")


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
