"""LoRAs and their relatives, added to the weights: all of them in float32, to what the model itself has.

A weight is W + Σ s·d, where s is what the recipe gives the layer, and d what a file makes of W alone at full strength. So files
count in no order, and a weight of 0 leaves W as it is.
"""

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sdbuild.arrays import Array
from sdbuild.modeling.adapters.blocks import BlockWeights
from sdbuild.modeling.adapters.file import AdapterFile
from sdbuild.modeling.adapters.merging import Part, merge, merge_half
from sdbuild.modeling.adapters.resolve import Change
from sdbuild.modeling.weights import Shapes, Weights
from sdbuild.overlay import Layer

RANK = 10


@dataclass(frozen=True)
class _Part:
    """One file's change of a parameter."""

    file: AdapterFile
    change: Change
    weight: float


def lay(weights: Weights, layers: Mapping[str, Layer], model: Shapes) -> Weights:
    """``files`` of a layer has the one file, ``facts`` what the stage lora found of it for this component; of its ``settings``
    ``place`` says which that is, ``weight`` and ``blocks`` how much it counts.
    """
    parts = defaultdict[str, list[_Part]](list)
    for layer in layers.values():
        assert layer.facts is not None
        changes = read_changes(layer.facts.path)
        counts = BlockWeights(layer.settings, [name.rpartition(".")[0] for name in model])
        file = AdapterFile(_only_file(layer.files.path))
        for parameter, found in changes.items():
            weight = counts.of(parameter.rpartition(".")[0])
            parts[parameter] += [_Part(file, change, weight) for change in found if weight]
    return _Adapted(weights, {parameter: found for parameter, found in parts.items() if found})


def _only_file(folder: Path) -> Path:
    (file,) = (path for path in folder.iterdir() if path.name != "files.json")
    return file


def read_changes(path: Path) -> dict[str, list[Change]]:
    """By parameter, as the stage lora writes them."""
    found = json.loads(path.read_text(encoding="utf-8"))
    return {parameter: [Change(**each) for each in changes] for parameter, changes in found.items()}


class _Adapted:
    """Weights with the changes of some of them."""

    def __init__(self, weights: Weights, parts: Mapping[str, Sequence[_Part]]) -> None:
        self._weights, self._parts = weights, parts

    def names(self) -> list[str]:
        """As without them."""
        return self._weights.names()

    def shape(self, name: str) -> tuple[int, ...]:
        """As without them."""
        return self._weights.shape(name)

    def load(self, name: str) -> Array:
        """The sum, float32, in the stored shape."""
        original = self._weights.load(name)
        return merge(original, self._read(name)) if name in self._parts else original

    def load_half(self, name: str, scale: float) -> Array | None:
        """The sum as `HalfWeights` has it."""
        return merge_half(self._weights.load(name), self._read(name), scale) if name in self._parts else None

    def _read(self, name: str) -> list[Part]:
        return [
            Part(each.change, {tensor: each.file.read(key) for tensor, key in each.change.tensors.items()}, each.weight)
            for each in self._parts[name]
        ]

    def check(self, model: Shapes, needed: Collection[str]) -> list[str]:
        """As without them: what a LoRA changes keeps its shape."""
        return self._weights.check(model, needed)
