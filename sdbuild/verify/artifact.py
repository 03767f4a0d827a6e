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

_DECODED_BYTES = 512 << 20
"""How much of the weights is kept in float32; what is beyond it is decoded when it is needed: seconds in a minute."""


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
    """A network of one model, or of chunks one after the other, that gives the component's outputs, float32."""

    def __init__(self, paths: Sequence[Path], outputs: Sequence[str], precision: Precision) -> None:
        """Open ``.mlpackage`` or ``.mlmodelc`` folders.

        Raises:
            UserError: a model cannot be read or run.
        """
        self._network = open_network(paths, Machine(precision, decoded_bytes=_DECODED_BYTES))
        self._last, self._outputs = paths[-1], outputs

    def __call__(self, given: Mapping[str, Array]) -> dict[str, Array]:
        """Run.

        Raises:
            UserError: an input or output is not there, or the models do not take arrays of these shapes.
        """
        values = self._network(given)
        if missing := [name for name in self._outputs if name not in values]:
            raise UserError(f"{self._last}: does not give {', '.join(missing)}")
        return {name: values[name].astype(np.float32) for name in self._outputs}


@contextmanager
def telling_of(what: str) -> Iterator[None]:
    """Say what was being verified when something went wrong."""
    try:
        yield
    except UserError as error:
        raise type(error)(f"{what}: {error}") from error
