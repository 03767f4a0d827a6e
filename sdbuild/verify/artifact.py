"""What a stage wrote for a component, run as the app runs it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sdbuild.arrays import Array
from sdbuild.coreml.runtime.storage import Precision
from sdbuild.errors import UserError
from sdbuild.networks import Machine, open_network

_DECODED_BYTES = 4 << 30
"""How much of the weights is kept in float32; what is beyond it is decoded when it is needed. All of an SD 1.5 fits."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """What each stage made of a component.

    Attributes:
        name: the recipe's.
        inputs: names of its inputs, in the kind's order.
        outputs: likewise.
        stages: stage → the models it wrote, chunks in order; in the order they were built, the last one ships.
    """

    name: str
    inputs: Sequence[str] = ()
    outputs: Sequence[str] = ()
    stages: Mapping[str, Sequence[Path]] = field(default_factory=dict)


class Artifact:
    """One model, or chunks one after the other: arrays in the order of the component's inputs to arrays, float32, in that of
    its outputs.
    """

    def __init__(
        self, paths: Sequence[Path], inputs: Sequence[str], outputs: Sequence[str], precision: Precision
    ) -> None:
        """Open ``.mlpackage`` or ``.mlmodelc`` folders; ``inputs`` and ``outputs`` are the component's, in its order.

        Raises:
            UserError: a model cannot be read or run.
        """
        self._network = open_network(paths, Machine(precision, decoded_bytes=_DECODED_BYTES))
        self._last = paths[-1]
        self._inputs, self._outputs = inputs, outputs

    def __call__(self, inputs: Sequence[Array]) -> list[Array]:
        """Run; a chunk takes what it wants of the inputs and of what the chunks before it gave, by name.

        Raises:
            UserError: an input or output is not there, or the models do not take arrays of these shapes.
        """
        values = self._network(dict(zip(self._inputs, inputs, strict=True)))
        if missing := [name for name in self._outputs if name not in values]:
            raise UserError(f"{self._last}: does not give {', '.join(missing)}")
        return [values[name].astype(np.float32) for name in self._outputs]


@contextmanager
def telling_of(what: str) -> Iterator[None]:
    """Say what was being verified when something went wrong."""
    try:
        yield
    except UserError as error:
        raise type(error)(f"{what}: {error}") from error
