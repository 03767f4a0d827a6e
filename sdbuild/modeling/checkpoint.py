"""Read tensors of a checkpoint one at a time, by the names that today's model classes use.

safetensors files are read a tensor at a time; pickled ones are opened only on request, with ``weights_only``.
"""

import json
import re
import struct
from collections.abc import Callable
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from sdbuild.errors import UserError

Array = np.ndarray[Any, np.dtype[Any]]

_TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
"""What weights may be, by the format's names."""

_OLD_NAMES = (
    # diffusers before 0.18 named the attention of a VAE differently; Stable Diffusion 1.x checkpoints still do.
    (re.compile(r"(attentions\.\d+)\.to_q\."), r"\1.query."),
    (re.compile(r"(attentions\.\d+)\.to_k\."), r"\1.key."),
    (re.compile(r"(attentions\.\d+)\.to_v\."), r"\1.value."),
    (re.compile(r"(attentions\.\d+)\.to_out\.0\."), r"\1.proj_attn."),
    # transformers 5 dropped a level of CLIP's models that checkpoints keep, or the other way round.
    (re.compile(r"^text_model\."), ""),
    (re.compile(r"^(?!text_model\.)"), "text_model."),
    (re.compile(r"^vision_model\.vision_model\."), "vision_model."),
    (re.compile(r"^vision_model\."), "vision_model.vision_model."),
)


class Checkpoint:
    """The tensors of one component, in however many files they lie."""

    def __init__(self, files: list[Path]) -> None:
        """Index the files; nothing is read but their headers.

        Raises:
            UserError: a file that is not a checkpoint.
        """
        self._where: dict[str, Callable[[], torch.Tensor]] = {}
        for file in files:
            if file.suffix == ".safetensors":
                self._index_safetensors(file)
            else:
                self._index_pickle(file)
        self._files = files

    def names(self) -> list[str]:
        """The names in the files, sorted."""
        return sorted(self._where)

    def load(self, name: str) -> Array:
        """The tensor of that name: float16 or float32, C-contiguous; bfloat16 and float64 come as float32.

        Raises:
            UserError: no such tensor.
        """
        read = self._where.get(name)
        for pattern, replacement in () if read else _OLD_NAMES:
            read = read or self._where.get(pattern.sub(replacement, name, count=1))
        if read is None:
            near = get_close_matches(name, self._where, 1)
            hint = f"; the nearest is {near[0]}" if near else ""
            files = ", ".join(file.name for file in self._files)
            raise UserError(
                f"weights: {name} is not in {files}{hint}. The weights and config.json are not of the same model"
            )
        tensor = read().detach().contiguous()  # a pickle may hold parameters that want gradients
        if tensor.dtype not in (torch.float16, torch.float32):
            tensor = tensor.float()
        array: Array = tensor.numpy()
        return array

    def _index_safetensors(self, file: Path) -> None:
        try:
            opened = _Safetensors(file)
        except (SafetensorError, OSError) as error:
            raise UserError(f"{file}: not a safetensors file, or damaged ({error}); download it again") from None
        for name in opened.names:
            self._where[name] = partial(opened.load, name)

    def _index_pickle(self, file: Path) -> None:
        try:
            state = torch.load(file, map_location="cpu", mmap=True, weights_only=True)
            state = state.get("state_dict", state)
            for name, tensor in state.items():
                self._where[name] = partial(_as_weight, file, name, tensor)
        except Exception as error:
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(f"{file}: cannot be loaded as plain weights ({first})") from None


def _as_weight(file: Path, name: str, content: Any) -> torch.Tensor:
    """A pickle's entry, if it can be a weight; counters and the like lie there too, and harm nobody who does not ask."""
    found = content.dtype if isinstance(content, torch.Tensor) else type(content).__name__
    if found not in _TYPES.values():
        raise UserError(f"{file}: {name} is of type {found}; weights are of {', '.join(_TYPES)}")
    return content  # type: ignore[no-any-return]


class _Safetensors:
    """A safetensors file, read by plain reads: a file that is mapped counts as memory, and torch maps all of it as its own.

    The format: the length of the header, uint64; the header, JSON; then the tensors, little-endian, in C order.
    """

    def __init__(self, file: Path) -> None:
        safe_open(file, framework="numpy")  # the library checks the header
        with file.open("rb") as content:
            (length,) = struct.unpack("<Q", content.read(8))
            header: dict[str, Any] = json.loads(content.read(length))
        self._file, self._start = file, 8 + length
        self._tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
        self.names = list(self._tensors)

    def load(self, name: str) -> torch.Tensor:
        entry = self._tensors[name]
        if entry["dtype"] not in _TYPES:
            raise UserError(f"{self._file}: {name} is of type {entry['dtype']}; weights are of {', '.join(_TYPES)}")
        start, end = entry["data_offsets"]
        content = np.fromfile(self._file, np.uint8, end - start, offset=self._start + start)
        return torch.from_numpy(content).view(_TYPES[entry["dtype"]]).reshape(entry["shape"])


def weight_files(folder: Path) -> list[Path]:
    """The weight files of a folder, shards in the order of their names."""
    return sorted(path for path in folder.iterdir() if path.suffix in (".safetensors", ".bin", ".pt", ".ckpt"))


def read_config(path: Path) -> dict[str, Any]:
    """A component's ``config.json``."""
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return config
