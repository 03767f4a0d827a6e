"""Encodings with the very numbers that ``coremltools.optimize`` found: the same operations, types and bytes as it writes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdbuild.coreml.encodings import Codes, Dense, Encoding, Palette, Quantized, Sparse
from sdbuild.coreml.package import read_package
from sdbuild.coreml.proto import MIL_pb2
from sdbuild.coreml.rewrite import rewrite
from tests.coreml.small import Tree, small, weights

ct = pytest.importorskip("coremltools")
import coremltools.optimize.coreml as cto  # noqa: E402


def encoding(tree: Tree) -> Encoding:
    """What an operation of coremltools holds."""
    parts = tree["parts"]
    match tree["type"]:
        case "constexpr_affine_dequantize":
            data = codes(parts["quantized_data"])
            axis = np.frombuffer(parts["axis"][2][-1:], np.uint8)[0] if parts["scale"][1] else 0
            shape = [-1 if each == axis else 1 for each in range(len(data.shape))]
            zeros = codes(parts["zero_point"])
            scale = array(parts["scale"]).reshape(shape)
            return Quantized(data, scale, Codes(zeros.type, zeros.packed, scale.shape))
        case "constexpr_blockwise_shift_scale":
            return Quantized(codes(parts["data"]), array(parts["scale"]), offset(parts))
        case "constexpr_lut_to_dense":
            return Palette(codes(parts["indices"]), array(parts["lut"]), axis_of_vectors(parts))
        case "constexpr_sparse_to_dense" if isinstance(parts["nonzero_data"], dict):
            inner = parts["nonzero_data"]["parts"]
            mask = codes(inner.get("indices_mask") or inner["data_mask"])
            if "lut" in inner:
                found = codes(inner["indices_nonzero_data"])
                return Sparse(mask, Palette(found, array(inner["lut"]), axis_of_vectors(inner)))
            return Sparse(mask, Quantized(codes(inner["nonzero_data"]), array(inner["scale"]), offset(inner)))
        case "constexpr_sparse_to_dense":
            mask = codes(parts["mask"])
            if "shape" in parts:
                sizes = np.frombuffer(parts["shape"][2][-4 * parts["shape"][1][0] :], np.uint32)
                mask = Codes("uint1", mask.packed, tuple(map(int, sizes)))
            return Sparse(mask, Dense(array(parts["nonzero_data"])))
    raise TypeError(tree["type"])


def codes(value: tuple[Any, ...]) -> Codes:
    kind, shape, content = value[:3]
    if len(value) == 3:  # in the program: the bytes end the message
        content = content[-max(1, int(np.prod(shape))) :]
    return Codes(MIL_pb2.DataType.Name(kind).lower(), np.frombuffer(content, np.uint8), shape)


def array(value: tuple[Any, ...]) -> np.ndarray:
    kind, shape, content = value[:3]
    dtype = np.dtype(MIL_pb2.DataType.Name(kind).lower())
    return np.frombuffer(content[-dtype.itemsize * max(1, int(np.prod(shape))) :], dtype).reshape(shape)


def offset(parts: Tree) -> Codes | None:
    return codes(parts["offset"]) if "offset" in parts else None


def axis_of_vectors(parts: Tree) -> int | None:
    return parts["vector_axis"][2][-1] if "vector_axis" in parts else None


def linear(**options: Any) -> Any:
    return lambda model: cto.linear_quantize_weights(
        model, cto.OptimizationConfig(cto.OpLinearQuantizerConfig(**options))
    )


def prune(model: Any) -> Any:
    config = cto.OpThresholdPrunerConfig(threshold=0.01, minimum_sparsity_percentile=0.1)
    return cto.prune_weights(model, cto.OptimizationConfig(config))


def pruned_and_quantized(model: Any) -> Any:
    config = cto.OptimizationConfig(cto.OpLinearQuantizerConfig())
    return cto.linear_quantize_weights(prune(model), config, joint_compression=True)


def palettes(**options: Any) -> Any:
    config = cto.OptimizationConfig(cto.OpPalettizerConfig(mode="kmeans", nbits=1, **options))
    return lambda model: cto.palettize_weights(model, config)


def pruned_and_palettized(model: Any) -> Any:
    config = cto.OptimizationConfig(cto.OpPalettizerConfig(mode="uniform", nbits=4))
    return cto.palettize_weights(prune(model), config, joint_compression=True)


BLOCKS = {"granularity": "per_block", "block_size": 32}
FORMS: dict[str, tuple[str, Any]] = {
    "iOS16 int8": ("iOS16", linear()),
    "iOS16 uint8 with offsets": ("iOS16", linear(mode="linear", dtype="uint8")),
    "iOS16 int8 a tensor": ("iOS16", linear(granularity="per_tensor")),
    "iOS16 sparse": ("iOS16", prune),
    "iOS18 int8": ("iOS18", linear()),
    "iOS18 int4 in blocks": ("iOS18", linear(dtype="int4", **BLOCKS)),
    "iOS18 uint4 in blocks with offsets": ("iOS18", linear(mode="linear", dtype="uint4", **BLOCKS)),
    "iOS18 sparse": ("iOS18", prune),
    "iOS18 vectors": ("iOS18", palettes(cluster_dim=2)),
    "iOS18 sparse int8": ("iOS18", pruned_and_quantized),
    "iOS18 sparse palettes": ("iOS18", pruned_and_palettized),
}


def _name_the_mask(tree: Tree) -> None:
    """A mask that is written twice becomes what it is in sparse palettes: the first output of the operation inside."""
    inner = tree["parts"].get("nonzero_data")
    if isinstance(inner, dict) and not isinstance(tree["parts"]["mask"], dict):
        assert tree["parts"]["mask"] == inner["parts"]["data_mask"]
        tree["parts"]["mask"] = {**inner, "place": 0}


@pytest.mark.parametrize("form", FORMS)
def test_operation_for_operation(form: str, tmp_path: Path) -> None:
    target, compress = FORMS[form]
    source = small(target)
    compress(ct.models.MLModel(str(source), skip_model_load=True)).save(str(tmp_path / "theirs.mlpackage"))
    theirs = weights(read_package(tmp_path / "theirs.mlpackage"))
    for tree in theirs.values():
        _name_the_mask(tree)
    assert len(theirs) == 3

    def encode(weight: Any) -> Encoding:
        takers = [theirs[user.name] for user in weight.users if user.name in theirs]
        return encoding(takers[0]) if takers and weight.data.ndim > 1 else Dense(weight.data)

    ours = rewrite(read_package(source), tmp_path / "ours.mlpackage", encode, lambda done, total: None)
    assert weights(ours) == theirs
