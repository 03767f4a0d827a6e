"""Read tensors of a checkpoint one at a time, by the names that today's model classes use.

safetensors files are read a tensor at a time; pickled ones are opened only on request, with ``weights_only``, and only
these take torch.
"""

import json
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sdbuild.arrays import Array
from sdbuild.errors import SourceError
from sdbuild.modeling.floats import decoded
from sdbuild.sources.base import shown
from sdbuild.sources.contents import OF_TWO_SAVES, are_safetensors, opening
from sdbuild.sources.header import Entry, header_of
from sdbuild.sources.layouts.base import Taken
from sdbuild.sources.leftovers import KINDS, WEIGHT_TYPES, check_names, listed, refuse, type_problem, unused, wrapped

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


_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
"""Of weight files; those of a single file may be in capitals."""


@dataclass(frozen=True)
class _Stored:
    """A tensor in a file: its type by the format's name, or by torch's where that has none. Or something else in a pickle."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    read: Callable[[], Array] | None
    entry: Entry | None = None
    """Its place, in a file of safetensors."""


class Checkpoint:
    """The tensors of one component, in however many files they lie."""

    def __init__(self, files: list[Path], names: Mapping[str, Taken] | None = None) -> None:
        """Index the files; of safetensors and of today's pickles nothing is read but what says which tensors there are.

        ``names``: where the component's tensors lie among those of the files, where these have others as well or other names.

        Raises:
            UserError: a file that is not a checkpoint; a tensor that is in two of them.
        """
        self._stored: dict[str, _Stored] = {}
        self._files = files
        for file in files:
            for name, stored in _index(file).items():
                if name in self._stored:
                    other = self._stored[name].file.name
                    raise SourceError(f"{file}: {shown(name)} is in {other} as well: {OF_TWO_SAVES}")
                self._stored[name] = stored
        if names is not None:
            self._stored = {name: self._take(taken) for name, taken in names.items()}

    def _take(self, taken: Taken) -> _Stored:
        if taken.key not in self._stored:
            files = self._names_of_files()
            raise SourceError(f"weights: {shown(taken.key)} is not in {files}: the file has changed; build again")
        stored = self._stored[taken.key]
        if taken.parts > 1 and (not stored.shape or stored.shape[0] % taken.parts):
            raise SourceError(
                f"{stored.file}: {shown(taken.key)} has shape {list(stored.shape)}, and should be {taken.parts} matrices in one"
            )
        whole = stored.read
        if whole is None or (taken.parts == 1 and not taken.transposed):
            return stored
        if stored.entry is not None and not taken.transposed:
            read = partial(_load, stored.file, taken.key, _rows(stored.entry, taken))
        else:
            read = partial(_taken, whole, taken)
        return _Stored(stored.file, stored.dtype, taken.shape(stored.shape), read)

    def names(self) -> list[str]:
        """The names in the files, sorted."""
        return sorted(self._stored)

    def shape(self, name: str) -> tuple[int, ...]:
        """That of the tensor, from its file's header. Raises UserError as `load` does."""
        return self._weight(name).shape

    def load(self, name: str) -> Array:
        """The tensor of that name: float16 or float32, C-contiguous; bfloat16, float64 and float8 come as float32.

        Raises:
            UserError: no such tensor, or one of numbers that are no weights.
        """
        read = self._weight(name).read
        assert read is not None, "no weight is of a type that no tensor has"
        return read()

    def check(self, model: Mapping[str, tuple[int, ...]], needed: Collection[str]) -> list[str]:
        """Compare with the model's parameters, by headers alone, before anything large is read.

        ``model``: the shape of each parameter; ``needed``: the names of those that are built, as only half a VAE is.
        Returns the names of unused tensors without a number in them, which are marks of something.

        Raises:
            UserError: a parameter that is needed and not there, or not of a weight's type, or of another shape than the
                model's; a tensor that no parameter takes and that is not known to be harmless.
        """
        for name in sorted(needed):
            check_shape(name, self.shape(name), model[name])
        used = {found for name in model if (found := self._find(name)) is not None}
        sizes = {name: math.prod(stored.shape) for name, stored in self._stored.items() if stored.read}
        left, marks = unused(sizes, used, model)
        refuse(f"weights: {self._names_of_files()}", left)
        check_names(f"weights: {self._names_of_files()}", marks)
        return marks

    def _find(self, name: str) -> str | None:
        """The name that a tensor has in the files."""
        if name in self._stored:
            return name
        olds = (pattern.sub(replacement, name, count=1) for pattern, replacement in _OLD_NAMES)
        return next((old for old in olds if old in self._stored), None)

    def _weight(self, name: str) -> _Stored:
        found = self._find(name)
        if found is None:
            raise SourceError(f"weights: {name} is not in {self._names_of_files()}; {self._hint(name)}")
        stored = self._stored[found]
        if stored.dtype not in WEIGHT_TYPES:
            raise SourceError(type_problem(str(stored.file), found, stored.dtype))
        return stored

    def _hint(self, name: str) -> str:
        if there := wrapped(name, self._stored):
            return there
        for pattern, what, advice in KINDS:
            if found := [other for other in self._stored if re.search(pattern, other)]:
                return f"the file has {what} ({listed(found)}): {advice}"
        near = get_close_matches(name, self._stored, 1)
        hint = f"the nearest is {shown(near[0])}. " if near else ""
        return f"{hint}The weights and config.json are not of the same model"

    def _names_of_files(self) -> str:
        return ", ".join(file.name for file in self._files)


def check_shape(name: str, found: Sequence[int], wanted: Sequence[int]) -> None:
    """Compare a weight's shape with the model's; only ones may differ: a linear layer's matrix is a 1×1 convolution's kernel.

    Raises:
        UserError: a checkpoint of another model.
    """
    if [n for n in found if n != 1] != [n for n in wanted if n != 1]:
        raise SourceError(
            f"weights: {name} has shape {list(found)}, the model's configuration says {list(wanted)}; the weights and "
            "config.json are not of the same model"
        )


def _index(file: Path) -> dict[str, _Stored]:
    """What is in a file, by what the file is, whatever it is called."""
    if are_safetensors(str(file), file.name, opening(file)):
        return {
            name: _Stored(file, entry.dtype, entry.shape, partial(_load, file, name, entry), entry)
            for name, entry in header_of(file).items()
        }
    from sdbuild.modeling.pickles import tensors_in  # torch, which safetensors do without

    return {name: _Stored(file, *tensor) for name, tensor in tensors_in(file).items()}


def _rows(entry: Entry, taken: Taken) -> Entry:
    """The place of one of equal parts of a tensor's rows, which lie one after the other."""
    size = (entry.end - entry.start) // taken.parts
    start = entry.start + taken.part * size
    return Entry(entry.dtype, taken.shape(entry.shape), start, start + size)


def _taken(whole: Callable[[], Array], taken: Taken) -> Array:
    """The same of a tensor in a pickle, or one with rows for columns."""
    tensor = whole()
    if taken.transposed:
        return np.ascontiguousarray(tensor.T)
    return np.ascontiguousarray(np.split(tensor, taken.parts)[taken.part])


def _load(file: Path, name: str, entry: Entry) -> Array:
    """Read by plain reads: a file that is mapped counts as memory."""
    size = entry.end - entry.start
    content = np.fromfile(file, np.uint8, size, offset=entry.start) if size else np.empty(0, np.uint8)
    if content.size != size:
        raise SourceError(f"{file}: {name} breaks off: the file has changed since it was opened; build again")
    return decoded(content, entry.dtype).reshape(entry.shape)


def weight_files(folder: Path) -> list[Path]:
    """The weight files of a folder, shards in the order of their names."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)


def names_of(folder: Path) -> dict[str, Taken] | None:
    """Of a folder that a single file was put into, where in it the component's tensors lie; None for any other."""
    path = folder / "names.json"
    if not path.exists():
        return None
    names: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["names"]
    return {name: Taken(**record) for name, record in names.items()}


def read_config(path: Path) -> dict[str, Any]:
    """A component's ``config.json``."""
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return config
