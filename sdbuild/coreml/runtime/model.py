"""Open a model and run it: ``load(path).predict({name: array})``."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sdbuild.arrays import Array
from sdbuild.coreml.package import read_package
from sdbuild.coreml.runtime.description import Shapes, allowed_shapes, default_function, read_compiled
from sdbuild.coreml.runtime.errors import InputError, ModelError, UnsupportedError
from sdbuild.coreml.runtime.from_mil_text import parse
from sdbuild.coreml.runtime.from_package import read_function
from sdbuild.coreml.runtime.fuse import fuse
from sdbuild.coreml.runtime.plan import compile_function, tensor_inputs
from sdbuild.coreml.runtime.program import NUMPY_TYPES, SUB_BYTE_BITS, Function, TensorType
from sdbuild.coreml.runtime.storage import Precision, Storage
from sdbuild.coreml.runtime.weights import WeightFile
from sdbuild.errors import one_line
from sdbuild.standins import stand_in_at


@dataclass(frozen=True)
class Opened:
    """A model that was read, but for its weights."""

    path: Path
    function: Function
    """The one to run."""
    shapes: Mapping[str, Shapes]
    """What its description allows of each input."""
    weights: Path | None
    """Its weight file."""


class Model:
    """An ML Program ready to run; made by `load`."""

    def __init__(self, opened: Opened, storage: Storage, budget: int | None) -> None:
        """Compile the function."""
        self.path = opened.path
        self._function = function = opened.function
        self._shapes = opened.shapes
        self._storage = storage
        try:
            # Rounding after each operation needs each operation.
            fused = fuse(function) if storage.precision == "float32" else function
            self._plan = compile_function(fused, WeightFile(opened.weights), storage, budget)
        except ModelError as error:
            raise type(error)(f"{self.path}: {one_line(str(error))}") from error
        types = {value.name: value.type for value in function.inputs}
        for operation in function.block.operations:
            types.update((value.name, value.type) for value in operation.outputs)
        self._outputs = {name: types[name] for name in function.block.outputs}

    @property
    def inputs(self) -> dict[str, TensorType]:
        """The inputs by name: data type and shape, None where a dimension is not fixed."""
        return {value.name: value.type for value in self._function.inputs}

    @property
    def outputs(self) -> dict[str, TensorType]:
        """The outputs by name: data type and shape."""
        return self._outputs

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run the model once.

        Args:
            inputs: an array for each input, of its shape; floats of any width for a float input, integers for an
                integer one (an image input takes the tensor that the program takes).

        Returns:
            An array for each output. Floats are float32, but float16 where ``precision="float16"`` was asked for and
            the program declares them so; others are of the declared type.

        Raises:
            InputError: a missing or unknown input, or one of the wrong shape or data type.
            ModelError: the model is damaged, or an operation failed.
        """
        arrays = _checked(inputs, self._function, self._shapes)
        try:
            results = self._plan.run(tensor_inputs(arrays, self._function, self._storage))
        except ModelError as error:
            raise type(error)(f"{self.path}: {one_line(str(error))}") from error
        named = zip(self.outputs.items(), results, strict=True)
        return {name: self._storage.result(result, kind.dtype) for (name, kind), result in named}


def load(
    path: str | Path,
    *,
    function: str | None = None,
    precision: Precision = "float32",
    device: str | torch.device = "cpu",
    decoded_bytes: int | None = None,
) -> Model:
    """Open an ``.mlpackage`` or ``.mlmodelc`` and compile it for this machine.

    Args:
        path: the folder.
        function: the one to run, of a model that has several; None for the one that it names as its default.
        precision: "float32" computes everything in float32; "float16" rounds what the program declares as fp16 after
            each operation, as half-precision hardware would, so that overflow shows.
        device: where torch computes: "cpu", "cuda", "mps".
        decoded_bytes: how many bytes of decoded weights may be held at once; None for no limit. Weights beyond it are
            decoded again each time they are used.

    Raises:
        InputError: a precision or device that there is not.
        PackageError: the folder cannot be read.
        ModelError: what it holds is damaged; UnsupportedError names what cannot be executed.
    """
    storage = Storage.of(precision, device)
    return Model(open_model(Path(path), function), storage, decoded_bytes)


def open_model(path: Path, function: str | None = None) -> Opened:
    """Read an ``.mlpackage`` or ``.mlmodelc`` as `load` does.

    Raises:
        PackageError: the folder cannot be read.
        ModelError: what it holds is damaged; UnsupportedError names what cannot be executed.
    """
    try:
        compiled = path.suffix == ".mlmodelc" or (path / "model.mil").is_file()
        program, description, weights = (_compiled if compiled else _package)(path, function)
        return Opened(path, program, allowed_shapes(description, program), weights)
    except ModelError as error:
        raise type(error)(f"{path}: {one_line(str(error))}") from error


_Read = tuple[Function, Any, Path | None]
"""The function that is run, the model's description, and its weight file."""


def _package(path: Path, function: str | None) -> _Read:
    package = read_package(path)
    if package.overlays:
        items = ", ".join(package.overlays)
        warnings.warn(f"{path}: runs without items of its manifest that are not known: {items}", stacklevel=4)
    return read_function(package.spec, function), package.spec.description, package.weights


def _compiled(path: Path, function: str | None) -> _Read:
    if wrong := stand_in_at(path):
        raise ModelError(f"it {wrong}")
    parts = sorted(each.parent.name for each in path.glob("model[0-9]*/model.mil"))
    if parts and not (path / "model.mil").exists():
        raise UnsupportedError(
            f"a compiled pipeline; only its ML Programs can be run, each by itself: {path / parts[0]}"
        )
    try:
        for file in ("model.mil", "coremldata.bin"):
            if (path / file).exists() and not (path / file).is_file():
                raise ModelError(f"its {file} is not a regular file")
            if wrong := stand_in_at(path / file):
                raise ModelError(f"its {file} {wrong}")
        text = (path / "model.mil").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"not a compiled ML Program: its model.mil cannot be read ({error})") from None
    description = read_compiled(path)
    weights = path / "weights" / "weight.bin"
    program = parse(text, "model.mil", function or default_function(description))
    return program, description, weights if weights.is_file() else None


def _checked(inputs: Mapping[str, Any], function: Function, shapes: Mapping[str, Shapes]) -> dict[str, Array]:
    """The inputs as arrays, after comparing them with what the function takes."""
    wanted = {value.name: value.type for value in function.inputs}
    unknown = sorted(set(inputs) - set(wanted))
    missing = [name for name in wanted if name not in inputs]
    if unknown or missing:
        problems = [
            f"{', '.join(names)} {what}" for names, what in ((missing, "missing"), (unknown, "not known")) if names
        ]
        takes = ", ".join(f"{name}: {kind}" for name, kind in wanted.items())
        raise InputError(f"inputs: {'; '.join(problems)}. The model takes {takes}")
    arrays = {}
    for name, kind in wanted.items():
        array = np.asarray(inputs[name])
        if array.ndim != len(kind.shape) or any(
            size is not None and size != actual for size, actual in zip(kind.shape, array.shape, strict=True)
        ):
            raise InputError(f"input {name}: has shape {list(array.shape)}, the model takes {kind}")
        if not shapes[name].allow(array.shape):
            raise InputError(f"input {name}: has shape {list(array.shape)}, the model takes {shapes[name]}")
        if not _fits(array, kind.dtype):
            raise InputError(f"input {name}: is of type {array.dtype}, the model takes {kind}")
        arrays[name] = array
    return arrays


def _fits(array: Array, dtype: str) -> bool:
    if dtype.startswith("fp"):
        return array.dtype.kind == "f"
    if dtype == "bool":
        return array.dtype.kind == "b"
    if array.dtype.kind not in "iu":
        return False
    low, high = _limits(dtype)
    return array.size == 0 or (int(array.min()) >= low and int(array.max()) <= high)


def _limits(dtype: str) -> tuple[int, int]:
    """The least and the greatest value of an integer type, those of fewer than eight bits included."""
    bits = SUB_BYTE_BITS.get(dtype) or 8 * np.dtype(NUMPY_TYPES[dtype]).itemsize
    return (0, 2**bits - 1) if dtype.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
