"""What the originals were given and gave, as files: names in ``cases.json``, arrays in ``cases.safetensors``."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from sdbuild.arrays import Array


@dataclass(frozen=True)
class Case:
    """What an original gave for some inputs: float32 arrays by port."""

    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]


Cases = dict[str, Case]


def write_cases(cases: Cases, folder: Path) -> None:
    """Write the cases of a component into a new folder."""
    folder.mkdir()
    ports = [[name, list(case.inputs), list(case.outputs)] for name, case in cases.items()]
    arrays = {
        f"{number}.{side}.{port}": np.ascontiguousarray(array, np.float32)
        for number, case in enumerate(cases.values())
        for side, given in (("input", case.inputs), ("output", case.outputs))
        for port, array in given.items()
    }
    (folder / "cases.json").write_text(json.dumps(ports, ensure_ascii=False), encoding="utf-8")
    save_file(arrays, folder / "cases.safetensors")


def read_cases(folder: Path) -> Cases:
    """Read what `write_cases` wrote."""
    arrays = load_file(folder / "cases.safetensors")
    return {
        name: Case(
            {port: arrays[f"{number}.input.{port}"] for port in inputs},
            {port: arrays[f"{number}.output.{port}"] for port in outputs},
        )
        for number, (name, inputs, outputs) in enumerate(
            json.loads((folder / "cases.json").read_text(encoding="utf-8"))
        )
    }
