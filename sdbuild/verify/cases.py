"""What the originals were given and gave, as files: ``cases.json`` has the names, ``cases.safetensors`` the arrays."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from sdbuild.arrays import Array


@dataclass(frozen=True)
class Case:
    """What an original gave for some inputs: float32 arrays, in the order of the component's ports."""

    inputs: Sequence[Array]
    outputs: Sequence[Array]


Cases = dict[str, Case]


def write_cases(cases: Cases, folder: Path) -> None:
    """Write the cases of a component into a new folder."""
    folder.mkdir()
    counts = [[name, len(case.inputs), len(case.outputs)] for name, case in cases.items()]
    arrays = {
        f"{number}.{side}.{index}": np.ascontiguousarray(array, np.float32)
        for number, case in enumerate(cases.values())
        for side, given in (("input", case.inputs), ("output", case.outputs))
        for index, array in enumerate(given)
    }
    (folder / "cases.json").write_text(json.dumps(counts, ensure_ascii=False), encoding="utf-8")
    save_file(arrays, folder / "cases.safetensors")


def read_cases(folder: Path) -> Cases:
    """Read what `write_cases` wrote."""
    arrays = load_file(folder / "cases.safetensors")
    return {
        name: Case(
            [arrays[f"{number}.input.{index}"] for index in range(inputs)],
            [arrays[f"{number}.output.{index}"] for index in range(outputs)],
        )
        for number, (name, inputs, outputs) in enumerate(
            json.loads((folder / "cases.json").read_text(encoding="utf-8"))
        )
    }
