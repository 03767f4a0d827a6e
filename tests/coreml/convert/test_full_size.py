"""Real architectures, without weights: published parameter counts, and the operations of Apple's reference packages."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from sdbuild.coreml.convert.builder import FLOAT16, Builder
from sdbuild.coreml.convert.lowering import lower_graph
from sdbuild.coreml.convert.normalize import normalize
from sdbuild.modeling.components import PREFIX, Shape, build
from sdbuild.modeling.tracing import load_trace, trace

pytestmark = pytest.mark.slow

SD15: dict[str, Any] = {"sample_size": 64, "cross_attention_dim": 768}
SDXL: dict[str, Any] = {
    "sample_size": 128,
    "block_out_channels": [320, 640, 1280],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "cross_attention_dim": 2048,
    "attention_head_dim": [5, 10, 20],
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
    "transformer_layers_per_block": [1, 2, 10],
}
NAMES = ["sample", "timestep", "encoder_hidden_states", "time_ids", "text_embeds"]


@pytest.mark.parametrize(
    ("kind", "config", "attention", "parameters", "operations"),
    [
        (
            "unet", SD15, "split_einsum_v2", 859_520_964,
            {"conv": 282, "einsum": 1792, "softmax": 896, "layer_norm": 48, "gelu": 16, "silu": 47,
             "upsample_nearest_neighbor": 3, "concat": 206, "transpose": 32},
        ),
        (
            "unet_xl", SDXL, "original", 2_567_463_684,
            {"conv": 794, "matmul": 280, "softmax": 140, "layer_norm": 210, "gelu": 70, "silu": 38,
             "upsample_nearest_neighbor": 2, "split": 70, "concat": 14},
        ),
    ],
    ids=["sd15", "sdxl"],
)  # fmt: skip
def test_as_the_reference(
    kind: str, config: dict[str, Any], attention: str, parameters: int, operations: dict[str, int], tmp_path: Path
) -> None:
    component = build(kind, config, Shape(512, 512, 2, attention=attention))
    assert sum(tensor.numel() for tensor in component.module.parameters()) == parameters
    trace(component, tmp_path / "graph.pt2")
    builder = Builder("CoreML6", FLOAT16)
    inputs = dict.fromkeys(NAMES[: len(component.arguments)], FLOAT16)
    lower_graph(normalize(load_trace(tmp_path / "graph.pt2")), builder, inputs, PREFIX)
    found = Counter(operation.type for operation in builder.operations)
    assert {kind: found[kind] for kind in operations} == operations
