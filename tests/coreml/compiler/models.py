"""Small models for the tests, each with everything of one kind that the compiler prints.

``python -m tests.coreml.compiler.models`` writes what they compile to into ``golden/``; read the difference, against
what is known of the format, before it is committed.
"""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from math import inf, prod
from pathlib import Path
from typing import Any

import numpy as np

from sdbuild.coreml.blob import BlobType, BlobWriter
from sdbuild.coreml.compiler import compile_package
from sdbuild.coreml.package import WEIGHT_FILE, write_package
from sdbuild.coreml.proto import FeatureTypes_pb2, MIL_pb2, Model_pb2

GOLDEN = Path(__file__).parent / "golden"
BUILD_INFO = {"compiler": "test"}

_ARRAY = FeatureTypes_pb2.ArrayFeatureType
_FEATURES = {"FLOAT16": _ARRAY.FLOAT16, "FLOAT32": _ARRAY.FLOAT32, "INT32": _ARRAY.INT32}
_BYTES = {"FLOAT16": "<f2", "INT8": "<i1", "UINT8": "<u1", "UINT32": "<u4"}
_FIELDS = {
    "BOOL": "bools",
    "STRING": "strings",
    "FLOAT32": "floats",
    "FLOAT64": "doubles",
    "INT64": "longInts",
    "UINT64": "longInts",
}
_SPEC = {"CoreML5": 6, "CoreML6": 7, "CoreML7": 8, "CoreML8": 9}


def tensor_type(kind: str, shape: Sequence[int | None] = ()) -> Any:
    """A tensor type; None is a dimension that is not known."""
    result = MIL_pb2.ValueType()
    result.tensorType.dataType = MIL_pb2.DataType.Value(kind)
    result.tensorType.rank = len(shape)
    for size in shape:
        dimension = result.tensorType.dimensions.add()
        if size is None:
            dimension.unknown.variadic = False
        else:
            dimension.constant.size = size
    return result


def value(kind: str, content: Any, shape: Sequence[int] | None = None) -> Any:
    """A constant in the program: of one element, or of a list of them (in a row, whatever the shape)."""
    elements = content if isinstance(content, list) else [content]
    if shape is None:
        shape = [len(elements)] if isinstance(content, list) else []
    result = MIL_pb2.Value(type=tensor_type(kind, shape))
    tensor = result.immediateValue.tensor
    if kind in _BYTES:
        tensor.bytes.values = np.array(elements, _BYTES[kind]).tobytes()
    else:
        field = getattr(tensor, _FIELDS.get(kind, "ints"))
        field.SetInParent()
        field.values.extend(elements)
    return result


class Builder:
    """A model of one function, and the blobs of its weight file (of zeros)."""

    def __init__(self, opset: str) -> None:
        self.spec = Model_pb2.Model(specificationVersion=_SPEC[opset])
        self.spec.mlProgram.version = 1
        self.function = self.spec.mlProgram.functions["main"]
        self.function.opset = opset
        self.block = self.function.block_specializations[opset]
        self._blobs: list[tuple[BlobType, int]] = []

    def input(
        self, name: str, kind: str, shape: Sequence[int], ranges: Sequence[tuple[int, int]] | None = None
    ) -> None:
        """An input; with ``ranges``, of a flexible shape."""
        self._describe(self.spec.description.input, name, kind, shape, ranges)
        sizes = [None if low != high else low for low, high in ranges] if ranges else shape
        self.function.inputs.add(name=name, type=tensor_type(kind, sizes))

    def output(
        self, name: str, kind: str, shape: Sequence[int], ranges: Sequence[tuple[int, int]] | None = None
    ) -> None:
        self._describe(self.spec.description.output, name, kind, shape, ranges)
        self.block.outputs.append(name)

    def _describe(self, features: Any, name: str, kind: str, shape: Sequence[int], ranges: Any) -> None:
        array = features.add(name=name).type.multiArrayType
        array.dataType = _FEATURES[kind]
        array.shape.extend(shape)
        for low, high in ranges or ():
            array.shapeRange.sizeRanges.add(lowerBound=low, upperBound=high)

    def blob(self, kind: str, shape: Sequence[int], packed_bits: int | None = None) -> Any:
        """A weight; ``packed_bits`` for elements that are packed into bytes."""
        result = MIL_pb2.Value(type=tensor_type(kind, shape))
        result.blobFileValue.fileName = WEIGHT_FILE
        bits = packed_bits or int("".join(filter(str.isdigit, kind)))
        size = -(-prod(shape) * bits // 8)
        result.blobFileValue.offset = 64 + sum(64 + -(-size // 64) * 64 for _, size in self._blobs)
        self._blobs.append((BlobType[kind], size))
        return result

    def const(self, name: str, constant: Any) -> str:
        self.op("const", name, [constant.type], attributes={"val": constant})
        return name

    def op(
        self,
        kind: str,
        name: str,
        outputs: Sequence[Any],
        inputs: Mapping[str, Any] | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        """An operation; inputs are names or values, or tuples of these."""
        operation = self.block.operations.add(type=kind)
        for index, output in enumerate(outputs):
            operation.outputs.add(name=name if len(outputs) == 1 else f"{name}_{index}", type=output)
        for key, argument in (inputs or {}).items():
            for item in argument if isinstance(argument, tuple) else (argument,):
                binding = {"name": item} if isinstance(item, str) else {"value": item}
                operation.inputs[key].arguments.add(**binding)
        for key, attribute in {"name": value("STRING", name), **(attributes or {})}.items():
            operation.attributes[key].CopyFrom(attribute)

    def package(self, path: Path) -> Path:
        """Write the package."""
        weights = None
        if self._blobs:
            weights = path.with_suffix(".bin")
            with BlobWriter(weights) as writer:
                for kind, size in self._blobs:
                    writer.add(kind, size, [bytes(size)])
        return write_package(path, self.spec, weights).path


def linear(opset: str = "CoreML7") -> Builder:
    """y = linear(x): the smallest model with a weight, a constant and a computation."""
    half = opset != "CoreML5"
    kind = "FLOAT16" if half else "FLOAT32"
    model = Builder(opset)
    model.input("x", kind, [1, 4])
    model.const("w", model.blob(kind, [3, 4]))
    model.const("b", value(kind, [0.5, -1.0, 3.0]))
    model.op("linear", "y", [tensor_type(kind, [1, 3])], {"x": "x", "weight": "w", "bias": "b"})
    model.output("y", kind, [1, 3])
    return model


def every_value(opset: str = "CoreML7") -> Builder:
    """Every element type written into a program, every special float, nesting, and every way to give an argument."""
    model = Builder(opset)
    model.input("z", "FLOAT32", [1, 2])
    model.input("a", "INT32", [2])
    floats = [0.0, -0.0, 1.0, 0.1, -1.5, 65504.0, 2.0**-24, -(2.0**-15), inf, -inf]
    constants = {
        "half": value("FLOAT16", floats),
        "single": value("FLOAT32", [*floats, 2.0**-149, 3.4028234663852886e38]),
        "double": value("FLOAT64", [0.1, 2.0**-1022, 1e300]),
        "scalar": value("FLOAT16", 0.5),
        "truth": value("BOOL", [True, False]),
        "flag": value("BOOL", False),
        "text": value("STRING", "nchw,nwhu->nchu"),
        "texts": value("STRING", ["", "größe"]),
        "i8": value("INT8", [-128, 127]),
        "i16": value("INT16", [-32768, 32767]),
        "i32": value("INT32", -(2**31)),
        "i64": value("INT64", [-(2**63)]),
        "u8": value("UINT8", [0, 255]),
        "u16": value("UINT16", [65535]),
        "u32": value("UINT32", [2**32 - 1]),
        "u64": value("UINT64", 7),
        "empty": value("INT32", [], [0]),
        "no_columns": value("FLOAT32", [], [2, 0]),
        "cube": value("INT32", list(range(12)), [2, 3, 2]),
    }
    for name, constant in constants.items():
        model.const(name, constant)
    model.op("split", "parts", [tensor_type("FLOAT32", [1, 1])] * 2, {"x": "z", "axis": value("INT32", 1)})
    model.op(
        "concat",
        "joined",
        [tensor_type("FLOAT32", [1, 4])],
        {"values": ("parts_1", value("FLOAT32", [2.5], [1, 1]), "z"), "axis": value("INT32", 1), "interleave": "flag"},
    )
    model.op("cast", "y", [tensor_type("INT32", [1, 4])], {"x": "joined", "dtype": value("STRING", "int32")})
    model.block.operations[-1].attributes.clear()
    model.output("y", "INT32", [1, 4])
    model.output("parts_0", "FLOAT32", [1, 1])
    return model


def compressed_ios16() -> Builder:
    """The weights of ios16: palettes of 1 and 6 bits, affine int8 and uint8, sparse."""
    model = Builder("CoreML6")
    model.input("x", "FLOAT16", [1, 32])
    weight = [tensor_type("FLOAT16", [16, 32])]
    shape = value("UINT32", [16, 32])
    model.op(
        "constexpr_lut_to_dense",
        "six_bits",
        weight,
        attributes={"indices": model.blob("UINT8", [384]), "lut": model.blob("FLOAT16", [64]), "shape": shape},
    )
    model.op(
        "constexpr_lut_to_dense",
        "one_bit",
        weight,
        attributes={"indices": model.blob("UINT8", [64]), "lut": value("FLOAT16", [-1.0, 1.0]), "shape": shape},
    )
    for kind in ("INT8", "UINT8"):
        model.op(
            "constexpr_affine_dequantize",
            f"affine_{kind.lower()}",
            weight,
            attributes={
                "quantized_data": model.blob(kind, [16, 32]),
                "scale": model.blob("FLOAT16", [16]),
                "zero_point": value(kind, 3),
                "axis": value("INT32", 0),
            },
        )
    model.op(
        "constexpr_sparse_to_dense",
        "sparse",
        weight,
        attributes={"nonzero_data": model.blob("FLOAT16", [100]), "mask": model.blob("UINT8", [64]), "shape": shape},
    )
    _sum_up(model, ["six_bits", "one_bit", "affine_int8", "affine_uint8", "sparse"])
    return model


def compressed_ios18() -> Builder:
    """The weights of ios18: grouped and joint palettes, int4 in blocks, sparse; arguments that are other weights."""
    model = Builder("CoreML8")
    model.input("x", "FLOAT16", [1, 32])
    weight = [tensor_type("FLOAT16", [16, 32])]
    for bits in (1, 2, 3, 4, 6, 8):
        kind = f"UINT{bits}"
        lut = model.blob("FLOAT16", [2, 1, 2**bits, 1])
        model.op(
            "constexpr_lut_to_dense",
            f"palette_{bits}",
            weight,
            {"indices": model.blob(kind, [16, 32], bits), "lut": lut},
        )
    scale = model.blob("FLOAT16", [16, 4])
    model.op(
        "constexpr_blockwise_shift_scale",
        "blockwise",
        weight,
        {"data": model.blob("INT4", [16, 32], 4), "scale": scale, "offset": model.blob("INT4", [16, 4], 4)},
    )
    model.op(
        "constexpr_sparse_to_dense",
        "sparse",
        weight,
        {"nonzero_data": model.blob("FLOAT16", [100]), "mask": model.blob("UINT1", [16, 32], 1)},
    )
    mask = tensor_type("UINT1", [16, 32])
    model.op(
        "constexpr_lut_to_sparse",
        "sparse_palette",
        [mask, tensor_type("FLOAT16", [100])],
        {
            "indices_mask": model.blob("UINT1", [16, 32], 1),
            "indices_nonzero_data": model.blob("UINT4", [100], 4),
            "lut": model.blob("FLOAT16", [1, 1, 16, 1]),
        },
    )
    model.op(
        "constexpr_sparse_to_dense",
        "joint",
        weight,
        {"nonzero_data": "sparse_palette_1", "mask": "sparse_palette_0"},
    )
    _sum_up(model, [*(f"palette_{bits}" for bits in (1, 2, 3, 4, 6, 8)), "blockwise", "sparse", "joint"])
    return model


def _sum_up(model: Builder, weights: list[str]) -> None:
    model.const("bias", model.blob("FLOAT16", [16]))
    total = ""
    for weight in weights:
        model.op(
            "linear", f"of_{weight}", [tensor_type("FLOAT16", [1, 16])], {"x": "x", "weight": weight, "bias": "bias"}
        )
        if total:
            model.op("add", f"to_{weight}", [tensor_type("FLOAT16", [1, 16])], {"x": total, "y": f"of_{weight}"})
        total = f"to_{weight}" if total else f"of_{weight}"
    model.output(total, "FLOAT16", [1, 16])


def flexible(opset: str = "CoreML6") -> Builder:
    """Two inputs of ranged shape, one of a fixed one; an output of ranged shape, and one of a shape not told."""
    model = Builder(opset)
    model.input("tokens", "INT32", [1, 8], [(1, 1), (1, 77)])
    model.input("fixed", "FLOAT16", [1])
    model.input("image", "FLOAT16", [1, 4, 64, 64], [(1, 2), (4, 4), (32, 96), (32, 96)])
    model.op("mul", "scaled", [tensor_type("FLOAT16", [None, 4, None, None])], {"x": "image", "y": "fixed"})
    model.op("add", "next", [tensor_type("INT32", [1, None])], {"x": "tokens", "y": value("INT32", 1)})
    model.output("next", "INT32", [])
    model.output("scaled", "FLOAT16", [1, 4, 64, 64], [(1, 2), (4, 4), (32, 96), (32, 96)])
    return model


def described(opset: str = "CoreML8") -> Builder:
    """Every text that a model can carry, with slashes and letters beyond ASCII."""
    model = linear(opset)
    description = model.spec.description
    description.input[0].shortDescription = 'What to draw: "größer"\n\t\\ 1/2'
    metadata = description.metadata
    metadata.shortDescription = "Stable Diffusion – https://example.org/sd"
    metadata.versionString = "1.0"
    metadata.author = "Zoë"
    metadata.license = "Apache-2.0"
    metadata.userDefined["b"] = "2"
    metadata.userDefined["a/b"] = "1"
    build_info = model.spec.mlProgram.attributes["buildInfo"]
    build_info.type.dictionaryType.keyType.CopyFrom(tensor_type("STRING"))
    build_info.type.dictionaryType.valueType.CopyFrom(tensor_type("STRING"))
    for key, text in {"zebra": "last", "compiler": "replaced", "aardvark": ""}.items():
        build_info.immediateValue.dictionary.values.add(key=value("STRING", key), value=value("STRING", text))
    return model


MODELS = {
    "linear_ios15": linear("CoreML5"),
    "linear_ios16": linear("CoreML6"),
    "every-value.ios17": every_value("CoreML7"),
    "every-value.ios18": every_value("CoreML8"),
    "compressed_ios16": compressed_ios16(),
    "compressed_ios18": compressed_ios18(),
    "flexible_ios16": flexible("CoreML6"),
    "flexible_ios18": flexible("CoreML8"),
    "1-described-v1.0": described(),
}
"""By the name of the package."""


if __name__ == "__main__":
    shutil.rmtree(GOLDEN, ignore_errors=True)
    GOLDEN.mkdir()
    with tempfile.TemporaryDirectory() as folder:
        for name, model in MODELS.items():
            package = model.package(Path(folder) / f"{name}.mlpackage")
            compiled = GOLDEN / f"{name}.mlmodelc"
            compile_package(package, compiled, build_info=BUILD_INFO)
            shutil.rmtree(compiled / "weights", ignore_errors=True)
