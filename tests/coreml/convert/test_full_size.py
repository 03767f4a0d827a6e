"""Real architectures, without weights: published parameter counts, and the operations of Apple's reference packages."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from benchmarks.architectures import UNETS
from sdbuild.coreml.convert.builder import FLOAT16, Builder
from sdbuild.coreml.convert.lowering import lower_graph
from sdbuild.coreml.convert.normalize import normalize
from sdbuild.graphs import read_graph
from sdbuild.modeling.tracing import trace
from sdbuild.opset import Opset
from tests.architectures import Shape, build

pytestmark = pytest.mark.slow

SD15, SD2, SDXL = (UNETS[family] for family in ("sd1", "sd2", "sdxl"))
NAMES = ["sample", "timestep", "encoder_hidden_states", "time_ids", "text_embeds"]
LAYERS = {
    "sd15": {
        "conv": 282,
        "layer_norm": 48,
        "gelu": 16,
        "silu": 47,
        "upsample_nearest_neighbor": 3,
        "batch_norm": 61,
        "mul": 17,
    },
    "sdxl": {
        "conv": 794,
        "layer_norm": 210,
        "gelu": 70,
        "silu": 38,
        "upsample_nearest_neighbor": 2,
        "batch_norm": 46,
        "mul": 72,
    },
}
"""By the kind of blocks. Counts of ``conv`` to ``upsample…`` are those of Apple's packages; a norm by groups has one
``batch_norm``; a gated unit has one ``mul``, as has each table of frequencies."""


def split(attentions: int, pieces: int, chunked: int, joints: int = 14) -> dict[str, int]:
    """Operations of attention head by head: ``chunked`` heads have several pieces, the others are one piece each.

    A piece takes two einsums and a softmax; an attention one transposition and a concat of heads; a chunked head one
    concat; ``joints`` are the other concats, of skip connections and of sines with cosines.
    """
    concats = joints + attentions + chunked
    return {"einsum": 2 * pieces, "softmax": pieces, "transpose": attentions, "concat": concats, "matmul": 0}


def whole(attentions: int, joints: int = 14) -> dict[str, int]:
    """Operations of attention with all heads at once: two products and a softmax each."""
    return {"einsum": 0, "softmax": attentions, "transpose": 0, "concat": joints, "matmul": 2 * attentions}


CASES = [
    # 16 blocks with 32 attentions, at 64×64 latents: 10 of 4,096 queries, 10 of 1,024, 12 of fewer than a chunk of 512.
    ("sd15", SD15, "original", 859_520_964, whole(32)),
    ("sd15", SD15, "split_einsum", 859_520_964, split(32, 32 * 8, 0)),
    # einsum 1792, softmax 896, transpose 32, concat 206: as Apple's package has them
    ("sd15", SD15, "split_einsum_v2", 859_520_964, split(32, 80 * 8 + 80 * 2 + 96, 160)),
    # heads of 64 channels: 5 where queries are most, then 10, then 20
    ("sd2", SD2, "original", 865_910_724, whole(32)),
    ("sd2", SD2, "split_einsum", 865_910_724, split(32, 10 * 5 + 10 * 10 + 12 * 20, 0)),
    ("sd2", SD2, "split_einsum_v2", 865_910_724, split(32, 50 * 8 + 100 * 2 + 240, 150)),
    # 70 blocks with 140 attentions: 20 with 10 heads and 1,024 queries, 120 with 20 heads and 256.
    # matmul 280, softmax 140, concat 14: as Apple's package has them
    ("sdxl", SDXL, "original", 2_567_463_684, whole(140)),
    ("sdxl", SDXL, "split_einsum", 2_567_463_684, split(140, 20 * 10 + 120 * 20, 0)),
    ("sdxl", SDXL, "split_einsum_v2", 2_567_463_684, split(140, 200 * 2 + 2400, 200)),
]


@pytest.mark.parametrize(
    ("family", "config", "attention", "parameters", "attentions"), CASES, ids=[f"{case[0]}-{case[2]}" for case in CASES]
)
def test_as_the_reference(
    family: str, config: dict[str, Any], attention: str, parameters: int, attentions: dict[str, int], tmp_path: Path
) -> None:
    kind = "unet_xl" if family == "sdxl" else "unet"
    component = build(kind, config, Shape(512, 512, 2))
    assert sum(tensor.numel() for tensor in component.module.parameters()) == parameters
    trace(component, tmp_path / "graph.json")
    builder = Builder(Opset.IOS16, FLOAT16)
    inputs = dict.fromkeys(NAMES[: len(component.arguments)], FLOAT16)
    lower_graph(normalize(read_graph(tmp_path / "graph.json")), builder, inputs, attention)
    found = Counter(operation.type for operation in builder.operations)
    expected = LAYERS["sdxl" if family == "sdxl" else "sd15"] | attentions
    assert {name: found[name] for name in expected} == expected
