"""Every compressed form decodes to exactly what coremltools decompresses."""

from pathlib import Path
from typing import Any

import coremltools.optimize.coreml as cto
import numpy as np
import pytest
import torch
from coremltools.converters.mil.mil import types
from coremltools.converters.mil.mil.ops.defs.iOS18.compression import (
    constexpr_blockwise_shift_scale,
    constexpr_lut_to_dense,
    constexpr_lut_to_sparse,
    constexpr_sparse_blockwise_shift_scale,
)
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from sdbuild.coreml.runtime import load
from sdbuild.coreml.runtime.constexpr import DECODERS
from sdbuild.coreml.runtime.packing import look_up, unpack, unpack_bits
from tests.coreml.runtime.support import IOS16, IOS18, ct, drawn, floats


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv2d(8, 64, 3), nn.Linear(64, 96)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.conv(x).mean((2, 3)))


def palettes(**options: Any) -> Any:
    return cto.palettize_weights, cto.OpPalettizerConfig(weight_threshold=0, **options)


def linear(**options: Any) -> Any:
    return cto.linear_quantize_weights, cto.OpLinearQuantizerConfig(weight_threshold=0, **options)


def pruned(**options: Any) -> Any:
    return cto.prune_weights, cto.OpMagnitudePrunerConfig(weight_threshold=0, target_sparsity=0.6, **options)


IOS16_FORMS = {
    **{f"palette {bits}": [palettes(mode="kmeans", nbits=bits)] for bits in (1, 2, 4, 6, 8)},
    "affine int8": [linear(mode="linear_symmetric")],
    "affine uint8": [linear(mode="linear", dtype="uint8")],
    "sparse": [pruned()],
}
IOS18_FORMS = {
    **{f"palette {bits}": [palettes(mode="kmeans", nbits=bits)] for bits in (1, 2, 3, 4, 6, 8)},
    "grouped palette": [palettes(mode="kmeans", nbits=4, granularity="per_grouped_channel", group_size=16)],
    "scaled palette": [palettes(mode="kmeans", nbits=3, enable_per_channel_scale=True)],
    "vector palette": [palettes(mode="kmeans", nbits=4, cluster_dim=4)],
    "int8 by channel": [linear(mode="linear_symmetric")],
    "uint4 in blocks": [linear(mode="linear", dtype="uint4", granularity="per_block", block_size=8)],
    "int4 in blocks": [linear(mode="linear_symmetric", dtype="int4", granularity="per_block", block_size=8)],
    "sparse": [pruned()],
    "sparse palette": [pruned(), palettes(mode="kmeans", nbits=4)],
    "sparse int8": [pruned(), linear(mode="linear_symmetric")],
    "palette of int8": [
        palettes(mode="kmeans", nbits=4),
        linear(mode="linear_symmetric", dtype="int8", granularity="per_tensor"),
    ],
}


@pytest.fixture(scope="module")
def originals() -> dict[Any, Any]:
    torch.manual_seed(0)
    traced = torch.jit.trace(Small().eval(), torch.randn(1, 8, 6, 6))
    return {
        target: ct.convert(
            traced,
            inputs=[ct.TensorType("x", (1, 8, 6, 6))],
            outputs=[ct.TensorType("y")],
            minimum_deployment_target=target,
            skip_model_load=True,
        )
        for target in (IOS16, IOS18)
    }


@pytest.mark.parametrize(
    ("target", "name"),
    [(IOS16, name) for name in IOS16_FORMS] + [(IOS18, name) for name in IOS18_FORMS],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_compressed_packages_equal_their_decompression(
    originals: dict[Any, Any], target: Any, name: str, tmp_path: Path
) -> None:
    model = originals[target]
    for position, (compress, config) in enumerate((IOS16_FORMS if target is IOS16 else IOS18_FORMS)[name]):
        joint = {"joint_compression": True} if position else {}
        model = compress(model, cto.OptimizationConfig(global_config=config), **joint)
    model.save(str(tmp_path / "compressed.mlpackage"))
    cto.decompress_weights(model).save(str(tmp_path / "plain.mlpackage"))
    compressed, plain = load(tmp_path / "compressed.mlpackage"), load(tmp_path / "plain.mlpackage")
    packed, whole = (
        (tmp_path / f"{kind}.mlpackage/Data/com.apple.CoreML/weights/weight.bin").stat().st_size
        for kind in ("compressed", "plain")
    )
    assert packed < 0.8 * whole
    inputs = {"x": floats([1, 8, 6, 6])}
    np.testing.assert_array_equal(compressed.predict(inputs)["y"], plain.predict(inputs)["y"])


@given(st.sampled_from([1, 2, 3, 4, 6, 8]), st.integers(1, 50))
@drawn
def test_bits_are_unpacked_from_the_lowest_up(bits: int, count: int) -> None:
    values = np.random.default_rng(count).integers(0, 1 << bits, count)
    packed = sum(int(value) << (bits * i) for i, value in enumerate(values)).to_bytes(-(-count * bits // 8), "little")
    np.testing.assert_array_equal(unpack_bits(np.frombuffer(packed, np.uint8), bits, count), values)


def test_int4_has_a_sign() -> None:
    np.testing.assert_array_equal(unpack(np.array([0x70, 0xF8], np.uint8), "int4", 4), [0, 7, -8, -1])


@st.composite
def blocked(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """A shape, and how many groups each of its dimensions falls into."""
    groups = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    return [count * draw(st.integers(1, 3)) for count in groups], groups


@given(blocked(), st.sampled_from([1, 2, 3, 4, 6, 8]), st.integers(1, 3), st.data())
@drawn
def test_palettes(shape: tuple[list[int], list[int]], bits: int, vector: int, data: st.DataObject) -> None:
    size, groups = shape
    axis = data.draw(st.integers(-len(size), len(size) - 1)) if vector > 1 else None
    indices = np.random.default_rng(0).integers(0, 1 << bits, size).astype(np.uint8)
    lut = floats([*groups, 1 << bits, vector]).astype(np.float16)
    expected = constexpr_lut_to_dense.decompress(indices, lut, axis)
    given_axis = {} if axis is None else {"vector_axis": np.int32(axis)}
    (actual,) = DECODERS["constexpr_lut_to_dense"](indices=indices, lut=lut, **given_axis)
    np.testing.assert_array_equal(actual, expected)
    mask = (floats(size, 3) > 0).astype(np.uint8)
    sparse = {"indices_mask": mask, "indices_nonzero_data": indices[mask != 0], "lut": lut, **given_axis}
    wanted = constexpr_lut_to_sparse.decompress(mask, indices[mask != 0], lut, axis)
    for one, other in zip(DECODERS["constexpr_lut_to_sparse"](**sparse), wanted, strict=True):
        np.testing.assert_array_equal(one, other)


@given(blocked(), st.sampled_from([np.float16, np.float32]), st.sampled_from(["none", "integer", "float"]))
@drawn
def test_blocks(shape: tuple[list[int], list[int]], dtype: Any, offset: str) -> None:
    size, groups = shape
    data = np.random.default_rng(0).integers(-128, 128, size).astype(np.int8)
    scale = floats(groups, 1).astype(dtype)
    shift = {
        "none": None,
        "integer": floats(groups, 2, -9, 9).astype(np.int8),
        "float": floats(groups, 2).astype(dtype),
    }
    given_offset = {} if offset == "none" else {"offset": shift[offset]}
    expected = constexpr_blockwise_shift_scale.decompress(data, scale, shift[offset])
    (actual,) = DECODERS["constexpr_blockwise_shift_scale"](data=data, scale=scale, **given_offset)
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(actual, expected)
    mask = (floats(size, 3) > 0).astype(np.uint8)
    sparse = {"data_mask": mask, "nonzero_data": data[mask != 0], "scale": scale, **given_offset}
    wanted = constexpr_sparse_blockwise_shift_scale.decompress(mask, data[mask != 0], scale, shift[offset])
    for one, other in zip(DECODERS["constexpr_sparse_blockwise_shift_scale"](**sparse), wanted, strict=True):
        np.testing.assert_array_equal(one, other)


def test_cast() -> None:
    half = floats([9]).astype(np.float16)
    (actual,) = DECODERS["constexpr_cast"](source_val=half, output_dtype="fp32")
    assert actual.dtype == types.nptype_from_builtin(types.fp32)
    np.testing.assert_array_equal(actual, half.astype(np.float32))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int8], ids=str)
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6, 8])
def test_looking_up_is_unpacking_and_indexing(bits: int, dtype: Any) -> None:
    """Whatever the number of indices leaves over, of runs of bytes and of the blocks that are done at once."""
    random = np.random.RandomState(bits)
    table = random.randint(0, 256, np.dtype(dtype).itemsize << bits, np.uint8).view(dtype)
    for count in (0, 1, 3, 4, 8, 9, 1001, (1 << 18) + 8, (1 << 18) + 13):
        data = random.randint(0, 256, -(-count * bits // 8) + count % 2, np.uint8)
        found = look_up(table, data, bits, count)
        assert found.dtype == dtype
        assert found.tobytes() == table[unpack_bits(data, bits, count)].tobytes()
    with pytest.raises(ValueError, match=f"^9 bytes cannot hold 1001 integers of {bits} bits$"):
        look_up(table, data[:9], bits, 1001)
