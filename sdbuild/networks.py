"""Networks: functions of arrays by name. One model is a network, and so are chunks, one after the other."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from sdbuild.arrays import Array
from sdbuild.coreml.runtime import Model, load
from sdbuild.coreml.runtime.program import TensorType
from sdbuild.coreml.runtime.storage import Precision
from sdbuild.errors import UserError

Network = Callable[[Mapping[str, Array]], Mapping[str, Array]]
"""Arrays by the names of its inputs to arrays by the names of its outputs."""


@dataclass(frozen=True)
class Machine:
    """How models are run: see `sdbuild.coreml.runtime.load`."""

    precision: Precision = "float32"
    device: str | torch.device = "cpu"
    decoded_bytes: int | None = None

    def load(self, path: Path) -> Model:
        """Open a model, packed or compiled."""
        return load(path, precision=self.precision, device=self.device, decoded_bytes=self.decoded_bytes)


class Chain:
    """One model, or chunks of one: each takes what it wants of what is given and of what those before it gave, by name."""

    def __init__(self, models: Sequence[Model]) -> None:
        """Take them in the order they run."""
        self.models = models

    @property
    def inputs(self) -> dict[str, TensorType]:
        """What must be given, by name: data type and shape, None where a dimension is not fixed."""
        found: dict[str, TensorType] = {}
        passed: set[str] = set()
        for model in self.models:
            found |= {name: kind for name, kind in model.inputs.items() if name not in found and name not in passed}
            passed |= set(model.outputs)
        return found

    def __call__(self, given: Mapping[str, Array]) -> dict[str, Array]:
        """Run; what no model takes is ignored, and what any of them gives is returned.

        Raises:
            UserError: an input is not there, or the models do not take arrays of these shapes.
        """
        results: dict[str, Array] = {}
        for model in self.models:
            values = {**given, **results}
            if missing := [name for name in model.inputs if name not in values]:
                raise UserError(
                    f"{model.path}: takes {', '.join(missing)}; there is {', '.join(values) or 'nothing to give it'}"
                )
            results |= model.predict({name: values[name] for name in model.inputs})
        return results


def open_network(paths: Sequence[Path], machine: Machine) -> Chain:
    """Open a model, or its chunks in their order: ``.mlpackage`` or ``.mlmodelc`` folders.

    Raises:
        UserError: one cannot be read or run.
    """
    return Chain([machine.load(path) for path in paths])
