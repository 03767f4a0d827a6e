"""Lists of tensors, which loops read from and write to.

An element that nothing has written cannot be read: Core ML does not say what it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from sdbuild.coreml.runtime.ops.registry import Bound, Call, Tensor, op

_LONGEST = 1 << 24
"""Elements; what asks for more is damaged."""


@dataclass(frozen=True)
class TensorList:
    """The value of a list: None stands for an element that nothing has written. Writing makes another list."""

    elements: tuple[Tensor | None, ...]
    grows: bool

    def read(self, index: int) -> Tensor:
        """An element.

        Raises:
            IndexError: there is none, or nothing has written it.
        """
        if not 0 <= index < len(self.elements):
            raise IndexError(f"element {index} of a list of {len(self.elements)}")
        found = self.elements[index]
        if found is None:
            raise IndexError(f"element {index} of the list is read before it is written")
        return found

    def written(self, indices: Sequence[int], values: Sequence[Tensor]) -> "TensorList":
        """The list with other elements; it grows to hold them where it may.

        Raises:
            IndexError: it may not.
        """
        elements = list(self.elements)
        for index, value in zip(indices, values, strict=True):
            if not 0 <= index < (_LONGEST if self.grows else len(elements)):
                raise IndexError(f"element {index} of a list of {len(elements)}")
            if index >= len(elements):
                elements.extend([None] * (index + 1 - len(elements)))
            elements[index] = value
        return TensorList(tuple(elements), self.grows)


@op("make_list")
def _make_list(call: Call) -> Bound:
    """The shape of elements is not needed: each brings its own."""
    grows = call.truth("dynamic_length", True)

    def make_list(length: Tensor | None) -> TensorList:
        count = 1 if length is None else int(length)
        if not 0 <= count <= _LONGEST:
            raise ValueError(f"a list of {count} elements")
        return TensorList((None,) * count, grows)

    return call.bind(make_list, "init_length?", moves=True)


@op("list_length")
def _list_length(call: Call) -> Bound:
    dtype, device = call.out_dtype(), call.storage.device
    return call.bind(lambda ls: torch.tensor(len(ls.elements), dtype=dtype, device=device), "ls", moves=True)


@op("list_read")
def _list_read(call: Call) -> Bound:
    return call.bind(lambda ls, index: ls.read(int(index)), "ls", "index", moves=True)


@op("list_write")
def _list_write(call: Call) -> Bound:
    return call.bind(lambda ls, index, value: ls.written([int(index)], [value]), *("ls", "index", "value"), moves=True)


@op("list_gather")
def _list_gather(call: Call) -> Bound:
    """No index at all makes a tensor of no elements, whose other dimensions must be declared."""
    kind, dtype, device = call.operation.outputs[0].type, call.out_dtype(), call.storage.device

    def list_gather(ls: TensorList, indices: Tensor) -> Tensor:
        picked = indices.reshape(-1).tolist()
        if not picked:
            return torch.empty(
                [0, *(0 if size is None else size for size in kind.shape[1:])], dtype=dtype, device=device
            )
        return torch.stack([ls.read(index) for index in picked])

    return call.bind(list_gather, "ls", "indices", moves=True)


@op("list_scatter")
def _list_scatter(call: Call) -> Bound:
    return call.bind(
        lambda ls, indices, value: ls.written(indices.reshape(-1).tolist(), value.unbind()),
        *("ls", "indices", "value"),
        moves=True,
    )
