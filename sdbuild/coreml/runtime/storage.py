"""How tensors are held and rounded: the precision and device of a run."""

import warnings
from dataclasses import dataclass
from typing import Literal, cast, get_args

import numpy as np
import torch

from sdbuild.arrays import Array
from sdbuild.coreml.runtime.errors import InputError, UnsupportedError
from sdbuild.coreml.runtime.program import NUMPY_TYPES, TensorType
from sdbuild.errors import Status

Precision = Literal["float32", "float16"]

DEVICES = ("cpu", "cuda", "mps")
"""What torch computes with here: the processor, cards of NVIDIA's (cuda:1 is the second), the GPU of a Mac."""

_INTEGERS: dict[str, torch.dtype] = {
    "bool": torch.bool,
    "int4": torch.int8,
    "int8": torch.int8,
    "int16": torch.int16,
    "int32": torch.int32,
    "int64": torch.int64,
    "uint1": torch.uint8,
    "uint2": torch.uint8,
    "uint3": torch.uint8,
    "uint4": torch.uint8,
    "uint6": torch.uint8,
    "uint8": torch.uint8,
    # torch computes little with wider unsigned integers: the next signed type holds all their values.
    "uint16": torch.int32,
    "uint32": torch.int64,
}


def _devices_here() -> list[str]:
    cards = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return ["cpu", *cards, *(["mps"] if torch.backends.mps.is_available() else [])]


@dataclass(frozen=True)
class Storage:
    """Where values live and in what.

    ``precision`` "float32": every float is held and computed in float32. "float16": what the program declares as fp16
    is rounded to it after each operation. On a CPU, where torch's half-precision kernels are slow, such values are held
    in float32 between roundings; elsewhere in float16 itself.
    """

    precision: Precision
    device: torch.device

    @classmethod
    def of(cls, precision: str, device: str | torch.device) -> "Storage":
        """Check what the caller asked for.

        Raises:
            InputError: no such precision, or a device that is not on this machine.
        """
        if precision not in get_args(Precision):
            raise InputError(
                f"precision {precision!r}: choose one of {', '.join(get_args(Precision))}", status=Status.USAGE
            )
        try:
            chosen = torch.device(device)
            torch.empty(1, device=chosen)
        except (RuntimeError, AssertionError):
            chosen = None
        if chosen is None or chosen.type not in DEVICES:  # torch has some that compute nothing, such as meta
            raise InputError(
                f"device {str(device)!r} cannot be used: choose one of {', '.join(DEVICES)}; this machine has "
                f"{', '.join(_devices_here())}",
                status=Status.USAGE,
            )
        return cls(cast(Precision, precision), chosen)

    @property
    def rounds(self) -> bool:
        """Whether fp16 results are rounded by us, rather than by computing in float16."""
        return self.precision == "float16" and self.device.type == "cpu"

    def knows(self, name: str) -> bool:
        """Whether a MIL type can be held."""
        return name in ("fp16", "fp32", "fp64") or name in _INTEGERS

    def dtype(self, name: str) -> torch.dtype:
        """The torch type that holds a MIL type.

        Raises:
            UnsupportedError: none does.
        """
        if not self.knows(name):
            raise UnsupportedError(f"the data type {name} is not supported")
        if name in ("fp16", "fp32", "fp64"):
            half = name == "fp16" and self.precision == "float16" and not self.rounds
            return torch.float16 if half else torch.float32
        return _INTEGERS[name]

    def bytes(self, kind: TensorType) -> int:
        """How many bytes a tensor of a type takes here."""
        return kind.elements * self.dtype(kind.dtype).itemsize

    def constant(self, array: Array, name: str) -> torch.Tensor:
        """A tensor of the values on the device; it may share memory with ``array`` and must not be written to."""
        if name == "uint16":
            array = array.astype(np.int32)
        elif name == "uint32":
            array = array.astype(np.int64)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            tensor = torch.from_numpy(np.ascontiguousarray(array).reshape(array.shape))
        return tensor.to(self.device, self.dtype(name))

    def round(self, tensor: torch.Tensor) -> torch.Tensor:
        """The nearest values of half precision: overflow becomes infinite."""
        return tensor.half().float()

    def result(self, tensor: torch.Tensor, name: str) -> Array:
        """An output as an array of its own: float32 where floats are widened, else of the type the program declares."""
        widened = name.startswith("fp") and (name != "fp16" or self.precision == "float32")
        array: Array = tensor.cpu().numpy()
        return np.array(array, np.float32 if widened else NUMPY_TYPES[name], order="C")
