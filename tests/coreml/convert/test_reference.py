"""The structure of Apple's own packages, where the Neural Engine cares: operation by operation, for small UNets.

The counts were taken once: ``unet.py`` of apple/ml-stable-diffusion (e12202c), built with these configurations and
converted as its ``torch2coreml.py`` does, by coremltools 9.0 for macOS 13 at 256×256 and batch 2. Its text encoders and
VAEs are the libraries' modules as they are, so ``test_equal`` holds for them as it is.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.architectures import UNET, UNET_2, UNET_XL, Shape
from tests.coreml.convert.test_convert import convert_component, operations

GROUPS = {"norm_num_groups": 32}  # the reference knows no other number
LAYERS = {
    "unet": {
        "add": 53, "batch_norm": 21, "cast": 1, "conv": 83, "cos": 1, "expand_dims": 3, "gelu": 4, "layer_norm": 12,
        "real_div": 21, "reduce_mean": 42, "silu": 19, "sin": 1, "sqrt": 21, "square": 21, "sub": 21,
        "upsample_nearest_neighbor": 1,
    },
    "unet_xl": {
        "add": 66, "batch_norm": 21, "cast": 1, "conv": 125, "cos": 2, "expand_dims": 6, "gelu": 8, "layer_norm": 24,
        "real_div": 21, "reduce_mean": 42, "silu": 20, "sin": 2, "sqrt": 21, "square": 21, "sub": 21,
        "upsample_nearest_neighbor": 1,
    },
}  # fmt: skip
SPELLED = {"mul", "slice_by_index", "split"}
"""Where sdbuild differs: `test_operations` says how, and why."""
CASES = [
    ("unet", UNET, "original",
     {"concat": 6, "matmul": 16, "mul": 13, "reshape": 82, "slice_by_index": 2, "softmax": 8, "split": 4}),
    ("unet", UNET, "split_einsum",
     {"concat": 14, "einsum": 64, "mul": 37, "reshape": 50, "slice_by_index": 98, "softmax": 32, "split": 4,
      "transpose": 8}),
    ("unet", UNET, "split_einsum_v2",
     {"concat": 38, "einsum": 112, "mul": 61, "reshape": 50, "slice_by_index": 146, "softmax": 56, "split": 4,
      "transpose": 8}),
    ("unet", UNET_2, "split_einsum",
     {"concat": 14, "einsum": 40, "mul": 25, "reshape": 50, "slice_by_index": 62, "softmax": 20, "split": 4,
      "transpose": 8}),
    ("unet_xl", UNET_XL, "original",
     {"concat": 9, "matmul": 32, "mul": 26, "reshape": 116, "slice_by_index": 4, "softmax": 16, "split": 8}),
    ("unet_xl", UNET_XL, "split_einsum",
     {"concat": 25, "einsum": 128, "mul": 74, "reshape": 52, "slice_by_index": 196, "softmax": 64, "split": 8,
      "transpose": 16}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "config", "attention", "varied"), CASES, ids=["sd1", "sd1-split", "sd1-v2", "sd2-split", "xl", "xl-split"]
)
def test_operations(kind: str, config: dict[str, Any], attention: str, varied: dict[str, int], tmp_path: Path) -> None:
    shape = Shape(256, 256, 2)  # 1,024 queries where there are most: two chunks
    package, _, _ = convert_component(tmp_path, kind, config | GROUPS, shape, attention=attention)
    found = Counter(operation.type for operation in operations(package))
    del found["const"]
    reference = Counter(LAYERS[kind] | varied)
    assert {name: found[name] for name in found.keys() - SPELLED} == {
        name: reference[name] for name in reference.keys() - SPELLED
    }
    # The reference multiplies the scores of every head by one over the root of the head's size. Here the convolution that
    # makes queries has that factor in its weights: an operation less a softmax, and scores that float16 holds more of.
    assert found["mul"] == reference["mul"] - reference["softmax"]
    # The reference slices heads and chunks out one by one. Here one split gives all of them: of queries, keys and values
    # into heads, and of each head's queries into chunks where there are several.
    attentions, gates = 2 * reference["gelu"], reference["gelu"]
    chunked = reference["concat"] - (6 if kind == "unet" else 9) - attentions if attention != "original" else 0
    assert reference["split"] == gates
    assert found["split"] == gates + (3 * attentions + chunked if attention != "original" else 0)
    assert found["slice_by_index"] == (2 if kind == "unet" else 4)
