"""What adapters make of weights, compared with the libraries that made them; see `oracles`."""

import json
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save_file

from sdbuild.arrays import Array
from sdbuild.modeling import library
from sdbuild.modeling.adapters.blocks import BlockWeights
from sdbuild.modeling.adapters.configs import PLACES
from sdbuild.modeling.adapters.file import AdapterFile
from sdbuild.modeling.adapters.merging import Part, merge
from sdbuild.modeling.adapters.resolve import resolve
from sdbuild.modeling.adapters.strengths import NO_STRENGTHS, read_strengths
from tests.modeling.adapters.models import PIPELINES

FILE = Path(__file__).with_name("oracles.safetensors")


@cache
def stored() -> tuple[dict[str, dict[str, Array]], dict[str, Any]]:
    """By case, its tensors; and what is said of it."""
    found = defaultdict[str, dict[str, Array]](dict)
    with safe_open(FILE, "np") as content:
        for key in content.keys():  # noqa: SIM118
            case, _, rest = key.partition("/")
            found[case][rest] = content.get_tensor(key)
        about = {case: json.loads(text) for case, text in content.metadata().items()}
    return found, about


@cache
def shapes(pipeline: str) -> dict[str, dict[str, tuple[int, ...]]]:
    """Of the parameters of each component."""
    with torch.device("meta"):
        made: dict[str, Any] = {
            place: library.unet(config) if place == "unet" else library.text_encoder(config)
            for place, config in PIPELINES[pipeline].items()
        }
    return {place: {name: tuple(p.shape) for name, p in model.named_parameters()} for place, model in made.items()}


@pytest.mark.parametrize("case", sorted(stored()[1]))
def test_the_sum_is_the_librarys(case: str, tmp_path: Path) -> None:
    tensors, about = stored()[0][case], stored()[1][case]
    models = shapes(about["pipeline"])
    strengths = NO_STRENGTHS
    if about["config"]:
        strengths = read_strengths(case, about["config"])
    elif about["metadata"]:
        strengths = read_strengths(case, about["metadata"], PLACES)
    base = {key[5:]: value.astype(np.float32) for key, value in tensors.items() if key.startswith("base/")}
    parts = defaultdict[str, list[Part]](list)
    for number, weight in enumerate(about["weights"]):
        prefix = f"file{number}/"
        save_file(
            {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)},
            path := tmp_path / f"{number}.safetensors",
        )
        file = AdapterFile(path)
        found = resolve(file.shapes, models, (), strengths)
        assert (found.unused, found.elsewhere) == ({}, [])
        assert {f"{place}/{name}" for place, each in found.changes.items() for name in each} == base.keys()
        for place, changes in found.changes.items():
            own = weight.get(place, 1.0) if isinstance(weight, dict) else weight
            counts = BlockWeights({"place": place, "weight": own}, [name.rpartition(".")[0] for name in models[place]])
            for parameter, each in changes.items():
                for change in each:
                    read = {tensor: file.read(name) for tensor, name in change.tensors.items()}
                    parts[f"{place}/{parameter}"].append(Part(change, read, counts.of(parameter.rpartition(".")[0])))
    for key, value in base.items():
        wanted = tensors[f"want/{key}"]
        made = merge(value, parts[key]).reshape(wanted.shape)
        np.testing.assert_allclose(made, wanted, rtol=2e-6, atol=4e-6, err_msg=key)
